"""The evaluation as one HTML file: no external loads, no scripts, everything from documents and questions escaped."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2

from server.candidates import Candidate
from server.evaluation.evaluate import SHOWN_CANDIDATES, Evaluation
from server.evaluation.gate import Shortfall
from server.evaluation.judging import SYSTEMS, Judged, meets
from server.evaluation.measures import MEASURES
from server.evaluation.plot import plot
from server.evaluation.questions import Expected

MAX_SHOWN = 30
EXCERPT_CHARACTERS = 700


@dataclass(frozen=True, slots=True)
class Sought:
    """An expected place beside where retrieval had it; `candidate` is None where it is not among the candidates."""

    expected: Expected
    candidate: Candidate | None


@dataclass(frozen=True, slots=True)
class Miss:
    """An answerable question whose expected place is not first."""

    judged: Judged
    sought: tuple[Sought, ...]
    found: tuple[Candidate, ...]


def render_report(evaluation: Evaluation, shortfalls: Sequence[Shortfall] | None, made_on: str) -> str:
    """shortfalls: None where there was no gate. made_on: the date, and the machine if it matters."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    text = (resources.files("server") / "evaluation" / "report.html").read_text(encoding="utf-8")
    answerable = [item for item in evaluation.judged if item.question.is_answerable]
    unanswerable = [item for item in evaluation.judged if not item.question.is_answerable]
    misses = worst_misses(evaluation.judged)
    return environment.from_string(text).render(
        subject=evaluation.subject,
        scores=evaluation.scores,
        systems=SYSTEMS,
        measures=MEASURES,
        plot=plot(_relevance(answerable), _relevance(unanswerable), evaluation.subject.floor),
        misses=misses[:MAX_SHOWN],
        num_misses=len(misses),
        wrongly_refused=_by_relevance(item for item in answerable if item.is_refused)[:MAX_SHOWN],
        not_refused=_by_relevance(item for item in unanswerable if not item.is_refused)[::-1][:MAX_SHOWN],
        absent=evaluation.absent,
        shortfalls=shortfalls,
        made_on=made_on,
        excerpt_characters=EXCERPT_CHARACTERS,
    )


def worst_misses(judged: Sequence[Judged]) -> list[Miss]:
    """What was not found at all comes first, then the largest ranks; among equals the most confident first."""
    missed = [item for item in judged if item.question.is_answerable and item.rank != 1]
    missed.sort(key=lambda item: (item.rank is not None, -(item.rank or 0), -item.relevance))
    return [_miss(item) for item in missed]


def _miss(judged: Judged) -> Miss:
    candidates = judged.retrieval.candidates
    places: dict[int, Candidate] = {}
    for candidate in candidates:
        for number in meets(judged.question, candidate):
            places.setdefault(number, candidate)
    sought = tuple(Sought(expected, places.get(number)) for number, expected in enumerate(judged.question.relevant, 1))
    return Miss(judged, sought, candidates[:SHOWN_CANDIDATES])


def _by_relevance(judged: Iterable[Judged]) -> list[Judged]:
    return sorted(judged, key=lambda item: item.relevance)


def _relevance(judged: Sequence[Judged]) -> list[float]:
    return [item.relevance for item in judged]
