"""One evaluation: what is asked of which system, and everything that is counted from the answers.

Who answers stands behind `Asks`; this only decides what to ask and puts the verdicts together.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from adapters.evaluation.ability import Ability, Item, compare
from adapters.evaluation.classification import Confusion, confusion
from adapters.evaluation.facts import contains_fact, untold
from adapters.evaluation.measures import System, column, differences, judge, system_of
from adapters.evaluation.questions import Answer, Question
from adapters.evaluation.statistics import Difference, Interval, mean, paired_difference, unpaired_difference
from adapters.evaluation.style import Styles, recognise
from config.brands import Brand
from config.fact_layout import FactLayout
from config.prompt import Turn

CANDIDATE, BASE, ACTIVE = "candidate", "base, best prompt", "active"
GAP_MEASURES = ("form", "grounded", "citation", "fact", "refusal", "correct")
SEED = 7
BLOCK = 8


@dataclass(frozen=True, slots=True)
class Ask:
    """One chat request at temperature 0. model: as the API knows it. instructions: a system message, "" for none."""

    model: str
    turns: tuple[Turn, ...]
    uses_documents: bool = True
    instructions: str = ""


class Asks(Protocol):
    """Whoever answers. `what` is for a progress display. Raises HousevoiceError where an answer cannot be had."""

    def answers(self, asks: Sequence[Ask], what: str) -> list[Answer]:
        """In order."""

    def plain(self, model: str, questions: Sequence[str], what: str) -> list[str]:
        """As plain chat, without the brand's words, documents and form; the model's adapter is on throughout."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is evaluated. candidate, active: versions like "halden@2"; active is None where it is the base or the
    candidate. card: how the candidate was made. heldout: the file's name, and heldout_sha256 its content.
    fact_layouts: how each system's sources are read, by the name that people read.
    """

    brand: Brand
    candidate: str
    active: str | None
    heldout: str
    heldout_sha256: str
    card: Mapping[str, Any] = field(default_factory=dict)
    fact_layouts: Mapping[str, FactLayout] = field(default_factory=dict)

    @property
    def models(self) -> dict[str, str]:
        """By the name that people read."""
        known = {CANDIDATE: self.candidate, BASE: f"{self.brand.name}@0"}
        return known | ({ACTIVE: self.active} if self.active else {})


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask. training: rows that the candidate learned from, for the overfitting gap. items: general ability.
    tests_leaks: whether to ask without documents too.
    """

    questions: tuple[Question, ...]
    training: tuple[Question, ...] = ()
    items: tuple[Item, ...] = ()
    tests_leaks: bool = True


@dataclass(frozen=True, slots=True)
class Told:
    """A question asked without documents; is_told: the fact came all the same."""

    question: Question
    fact: str
    version: str
    base: str
    is_told: bool
    is_told_by_base: bool


@dataclass(frozen=True, slots=True)
class Leak:
    """Facts told with retrieval off. more: version minus base; the base tells what can be guessed or known anyway."""

    told: tuple[Told, ...]
    version: Interval
    base: Interval
    more: Difference


@dataclass(frozen=True, slots=True)
class Gap:
    """The candidate on rows that it was trained on. more: training minus held-out, by measure."""

    training: System
    more: Mapping[str, Difference | None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """systems: by name, the candidate first. against: candidate minus each other system, by measure."""

    subject: Subject
    systems: Mapping[str, System]
    against: Mapping[str, Mapping[str, Difference | None]]
    styles: Styles | None
    confusions: Mapping[str, Confusion]
    leak: Leak | None = None
    ability: Ability | None = None
    gap: Gap | None = None

    @property
    def candidate(self) -> System:
        return self.systems[CANDIDATE]

    @property
    def questions(self) -> list[Question]:
        return [item.question for item in self.candidate.judged]


def evaluate(asks: Asks, subject: Subject, plan: Plan) -> Evaluation:
    """Ask everything, one system after the other."""
    systems = _systems(asks, subject, plan.questions)
    styles = styles_of(systems, plan.questions, plan.training, BASE)
    systems = {name: with_style(system, styles) for name, system in systems.items()}
    labels = subject.brand.format.labels
    confusions = {name: confusion(system.judged, labels) for name, system in systems.items()}
    return Evaluation(
        subject=subject,
        systems=systems,
        against={
            name: differences(systems[CANDIDATE], system) for name, system in systems.items() if name != CANDIDATE
        },
        styles=styles,
        confusions={name: found for name, found in confusions.items() if found},
        leak=_leak(asks, subject, plan) if plan.tests_leaks else None,
        ability=_ability(asks, subject, plan.items) if plan.items else None,
        gap=_gap(asks, subject, plan, systems[CANDIDATE]) if plan.training else None,
    )


def ask_in_blocks(asks: Asks, columns: Sequence[Sequence[Ask]], what: str) -> list[list[Answer]]:
    """Columns of equal length, one for each system. A few questions at a time are asked of all systems, so that a
    server that keeps the sources of a prompt reads them once for all.
    """
    answers: list[list[Answer]] = [[] for _ in columns]
    num = len(columns[0]) if columns else 0
    blocks = [slice(start, start + BLOCK) for start in range(0, num, BLOCK)]
    flat = iter(asks.answers([ask for block in blocks for asked in columns for ask in asked[block]], what))
    for block in blocks:
        for asked, said in zip(columns, answers, strict=True):
            said += [next(flat) for _ in asked[block]]
    return answers


def sample(questions: Sequence[Question], num: int) -> tuple[Question, ...]:
    """At most so many, always the same ones, in the file's order."""
    if len(questions) <= num:
        return tuple(questions)
    places = sorted(random.Random(SEED).sample(range(len(questions)), num))
    return tuple(questions[place] for place in places)


def _systems(asks: Asks, subject: Subject, questions: Sequence[Question]) -> dict[str, System]:
    models = subject.models
    columns = [[Ask(model, question.turns) for question in questions] for model in models.values()]
    answers = ask_in_blocks(asks, columns, f"{' and '.join(models.values())}")
    return {
        name: judged_system(name, model, questions, said, subject.brand)
        for (name, model), said in zip(models.items(), answers, strict=True)
    }


def judged_system(
    name: str, model: str, questions: Sequence[Question], answers: Sequence[Answer], brand: Brand
) -> System:
    judged = [judge(question, answer, brand) for question, answer in zip(questions, answers, strict=True)]
    return system_of(name, model, judged)


def styles_of(
    systems: Mapping[str, System], questions: Sequence[Question], training: Sequence[Question], foreign: str
) -> Styles | None:
    """foreign: the system whose answers are the other side."""
    texts = {
        name: [None if item.is_refusal else item.answer.text for item in system.judged]
        for name, system in systems.items()
    }
    references = [question.reference if question.is_answerable else None for question in questions]
    return recognise([row.reference for row in training if row.is_answerable], references, texts[foreign], texts)


def with_style(system: System, styles: Styles | None) -> System:
    """Its scores with the style, where that can be told."""
    if styles is None or not styles.can_tell:
        return system
    judged = [
        replace(item, values={**item.values, "style": value})
        for item, value in zip(system.judged, styles.own[system.name], strict=True)
    ]
    return system_of(system.name, system.model, judged)


def _leak(asks: Asks, subject: Subject, plan: Plan) -> Leak | None:
    """Trained rows tell most: only their facts can have been learned by heart."""
    chosen = (*plan.questions, *sample(plan.training, len(plan.questions)))
    asked = [(question, fact) for question in chosen if (fact := untold(question.fact, question.text))]
    if not asked:
        return None
    models = (subject.candidate, f"{subject.brand.name}@0")
    columns = [[Ask(model, question.turns, uses_documents=False) for question, _ in asked] for model in models]
    said = ask_in_blocks(asks, columns, "without documents")
    told = tuple(
        Told(question, fact, own.text, base.text, contains_fact(own.text, fact), contains_fact(base.text, fact))
        for (question, fact), own, base in zip(asked, *said, strict=True)
    )
    return leak_of(told)


def leak_of(told: Sequence[Told]) -> Leak | None:
    own, base = [float(item.is_told) for item in told], [float(item.is_told_by_base) for item in told]
    by_version, by_base, more = mean(own), mean(base), paired_difference(own, base)
    return Leak(tuple(told), by_version, by_base, more) if by_version and by_base and more else None


def _ability(asks: Asks, subject: Subject, items: Sequence[Item]) -> Ability:
    questions = [item.question for item in items]
    base, version = (
        asks.plain(model, questions, f"{model} (ability)") for model in (f"{subject.brand.name}@0", subject.candidate)
    )
    return compare(items, base, version)


def _gap(asks: Asks, subject: Subject, plan: Plan, heldout: System) -> Gap:
    chosen = sample(plan.training, len(plan.questions))
    said = asks.answers([Ask(subject.candidate, row.turns) for row in chosen], f"{subject.candidate} (training rows)")
    training = judged_system("training rows", subject.candidate, chosen, said, subject.brand)
    more = {
        name: unpaired_difference(column(training.judged, name), column(heldout.judged, name)) for name in GAP_MEASURES
    }
    return Gap(training, more)
