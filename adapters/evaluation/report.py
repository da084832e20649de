"""The evaluation as one HTML file: no external loads, no scripts, and everything from models and files escaped."""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources

import jinja2

from adapters.evaluation.gate import Decision
from adapters.evaluation.measures import MEASURES, Judged
from adapters.evaluation.plot import forest, learning_curve
from adapters.evaluation.run import BASE, CANDIDATE, Evaluation
from adapters.evaluation.statistics import points

MAX_QUESTIONS = 300
MAX_CHARACTERS = 4_000


@dataclass(frozen=True, slots=True)
class Row:
    """One question with what each system said, in the systems' order; `num_faults` are the candidate's."""

    judged: tuple[Judged, ...]
    num_faults: int


def render_report(evaluation: Evaluation, decision: Decision, made_on: str = "") -> str:
    """made_on: the date, for a reader; now where it is left out."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["points"] = points
    environment.filters["share"] = lambda value: f"{100 * value:.0f} %"
    text = (resources.files("adapters") / "evaluation" / "report.html").read_text(encoding="utf-8")
    systems = list(evaluation.systems.values())
    rows = side_by_side(evaluation)
    return environment.from_string(text).render(
        evaluation=evaluation,
        subject=evaluation.subject,
        systems=systems,
        measures={name: measure for name, measure in MEASURES.items() if any(s.scores[name] for s in systems)},
        decision=decision,
        forest=forest(systems),
        curve=learning_curve(evaluation.subject.card),
        rows=rows[:MAX_QUESTIONS],
        num_questions=len(rows),
        base=BASE,
        candidate=CANDIDATE,
        told=[item for item in evaluation.leak.told if item.is_told] if evaluation.leak else [],
        max_characters=MAX_CHARACTERS,
        made_on=made_on or f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def side_by_side(evaluation: Evaluation) -> list[Row]:
    """The candidate's faults first, the worst question at the top."""
    columns = zip(*(system.judged for system in evaluation.systems.values()), strict=True)
    rows = [Row(tuple(judged), faults(judged[0])) for judged in columns]
    return sorted(rows, key=lambda row: -row.num_faults)


def faults(judged: Judged) -> int:
    """How many measures are not fully met."""
    return sum(
        value is not None and value != (1.0 if MEASURES[name].is_more_better else 0.0)
        for name, value in judged.values.items()
    )
