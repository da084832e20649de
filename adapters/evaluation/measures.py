"""One answer against its question: every measure as a number from 0 to 1, None where it does not apply."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from adapters.evaluation.facts import contains_fact, refuses
from adapters.evaluation.grounding import Grounding, ground
from adapters.evaluation.questions import Answer, Question
from adapters.evaluation.statistics import Difference, Interval, Values, mean, paired_difference
from adapters.format_rules import brand_violations, label_of
from config.brands import Brand

NO_GROUNDING = Grounding(None, None, None)


@dataclass(frozen=True, slots=True)
class Measure:
    """title: a table's heading. meaning: what is counted, over which questions."""

    title: str
    meaning: str
    is_more_better: bool = True


MEASURES: Mapping[str, Measure] = {
    "form": Measure("form", "the brand's [format] rules hold"),
    "style": Measure("style", "a classifier takes the answer for the brand's own writing, not for the base's"),
    "grounded": Measure("grounded", "share of the answer's sentences that a source it cites supports"),
    "citation": Measure("citation", "the first citation names a document that holds the answer"),
    "citation_precision": Measure("citation precision", "share of the citations that support their sentence"),
    "citation_recall": Measure("citation recall", "share of the sentences that their own citations support"),
    "fact": Measure("fact", "the expected fact stands in the answer (answerable questions)"),
    "refusal": Measure("refusal", "refused, of the questions that the documents do not answer"),
    "wrong_refusal": Measure("wrong refusal", "refused, of the questions that they do answer", is_more_better=False),
    "correct": Measure("correct label", "the answer's label is the written one"),
}


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer with its verdicts. values: by the names in MEASURES; `style` is added for all answers at once.

    broken: the broken rules of the form in words. unsupported: sentences that no cited source supports. label: what the
    answer says where the label belongs.
    """

    question: Question
    answer: Answer
    values: Mapping[str, float | None]
    broken: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    label: str | None = None
    is_refusal: bool = False


@dataclass(frozen=True, slots=True)
class System:
    """All answers of one system. name: as people read it. model: as the API knows it."""

    name: str
    model: str
    judged: tuple[Judged, ...]
    scores: Mapping[str, Interval | None] = field(default_factory=dict)


def judge(question: Question, answer: Answer, brand: Brand) -> Judged:
    """Everything but the style."""
    is_refusal = answer.is_refusal or refuses(answer.text, brand)
    broken = tuple(brand_violations(answer.text, brand, is_refusal=is_refusal))
    is_counted = bool(brand.knowledge_bases) and brand.output == "text" and not is_refusal
    grounding = ground(answer, brand.format) if is_counted else NO_GROUNDING
    label = label_of(answer.text, brand.format) if brand.format.labels and not is_refusal else None
    values = {
        "form": float(not broken),
        "grounded": grounding.grounded,
        "citation": _citation(question, answer),
        "citation_precision": grounding.precision,
        "citation_recall": grounding.recall,
        "fact": float(contains_fact(answer.text, question.fact)) if question.fact else None,
        "refusal": None if question.is_answerable else float(is_refusal),
        "wrong_refusal": float(is_refusal) if question.is_answerable else None,
        "correct": None if question.label is None else float(label == question.label),
    }
    return Judged(question, answer, values, broken, grounding.unsupported, label, is_refusal)


def system_of(name: str, model: str, judged: Sequence[Judged]) -> System:
    return System(name, model, tuple(judged), {measure: mean(column(judged, measure)) for measure in MEASURES})


def column(judged: Sequence[Judged], measure: str) -> Values:
    return [item.values.get(measure) for item in judged]


def differences(first: System, second: System) -> dict[str, Difference | None]:
    """By measure, over the same questions in the same order."""
    return {
        measure: paired_difference(column(first.judged, measure), column(second.judged, measure))
        for measure in MEASURES
    }


def _citation(question: Question, answer: Answer) -> float | None:
    if not question.is_answerable or question.documents is None:
        return None
    return float(answer.cited_paths[:1] != () and answer.cited_paths[0] in question.documents)
