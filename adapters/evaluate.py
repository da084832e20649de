"""Score a brand's answers on held-out examples: citation, form, refusal and facts. Pure; the caller generates."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adapters.format_rules import violations
from config.brands import FormatRules

NUMBERS = re.compile(r"\d+(?:[.,:]\d+)*")
RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Answered:
    """One held-out question with what a system said.

    documents: paths that hold the answer; empty where the documents do not answer it. cited: paths the answer cites, in
    first-use order. fact: the words and numbers the answer must contain.
    """

    question: str
    documents: tuple[str, ...]
    fact: str
    answer: str
    cited: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """What code can tell about one answer. None where the measure does not apply to the question."""

    is_form_right: bool
    broken_rules: tuple[str, ...]
    is_citation_right: bool | None
    is_fact_right: bool | None
    is_refusal_right: bool | None
    is_wrongly_refused: bool | None


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95 % bootstrap interval, over `num` questions."""

    value: float
    low: float
    high: float
    num: int

    def __str__(self) -> str:
        return f"{100 * self.value:.0f} % ({100 * self.low:.0f}-{100 * self.high:.0f}, n={self.num})"


@dataclass(frozen=True, slots=True)
class Scores:
    form: Rate
    citation: Rate
    fact: Rate
    refusal: Rate
    wrong_refusal: Rate


def judge(answered: Answered, rules: FormatRules, refusal: str) -> Judged:
    """Compare one answer with what its example demands. refusal: the brand's own refusal text."""
    is_refusal = refuses(answered, refusal)
    broken = tuple(violations(answered.answer, rules, is_refusal=is_refusal))
    is_answerable = bool(answered.documents)
    return Judged(
        is_form_right=not broken,
        broken_rules=broken,
        is_citation_right=answered.cited[:1] != () and answered.cited[0] in answered.documents
        if is_answerable
        else None,
        is_fact_right=contains_fact(answered.answer, answered.fact) if is_answerable else None,
        is_refusal_right=None if is_answerable else is_refusal,
        is_wrongly_refused=is_refusal if is_answerable else None,
    )


def refuses(answered: Answered, refusal: str) -> bool:
    """Does the answer open as the refusal does? Its first line decides, so that a kind closing does not count."""
    first = refusal.strip().splitlines()[0] if refusal.strip() else ""
    return bool(first) and _flat(answered.answer).startswith(_flat(first))


def contains_fact(answer: str, fact: str) -> bool:
    """All numbers of the fact occur in the answer; a fact without numbers must occur by most of its words."""
    numbers = NUMBERS.findall(fact)
    if numbers:
        found = set(NUMBERS.findall(answer))
        return all(number in found for number in numbers)
    words = [word for word in _flat(fact).split() if len(word) > 2]
    present = set(_flat(answer).split())
    return sum(word in present for word in words) >= 0.7 * len(words)


def score(judged: Sequence[Judged], seed: int = 0) -> Scores:
    def rate(of: Callable[[Judged], bool | None]) -> Rate:
        return bootstrap([value for value in map(of, judged) if value is not None], seed)

    return Scores(
        form=rate(lambda j: j.is_form_right),
        citation=rate(lambda j: j.is_citation_right),
        fact=rate(lambda j: j.is_fact_right),
        refusal=rate(lambda j: j.is_refusal_right),
        wrong_refusal=rate(lambda j: j.is_wrongly_refused),
    )


def bootstrap(values: Sequence[bool], seed: int = 0) -> Rate:
    """Percentile bootstrap (Efron 1979) of the mean over questions."""
    if not values:
        return Rate(float("nan"), float("nan"), float("nan"), 0)
    generator = random.Random(seed)
    means = sorted(sum(generator.choices(values, k=len(values))) / len(values) for _ in range(RESAMPLES))
    low, high = means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES)]
    return Rate(sum(values) / len(values), low, high, len(values))


def _flat(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", " ", text.lower()).split())
