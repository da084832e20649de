"""Brands whose output is a label: accuracy, macro-F1, and which label is taken for which."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapters.evaluation.measures import Judged
from adapters.evaluation.statistics import Interval, mean, resampled

OTHER = "(none of them)"
"""The column of answers without a label, or with one outside the taxonomy."""

Pair = tuple[str, str]
"""(the written label, the answer's)"""


@dataclass(frozen=True, slots=True)
class Confusion:
    """labels: those that occur, in the taxonomy's order, OTHER last. written: those of them that should have been said.
    counts: by (written, said).

    macro_f1: the mean over the written labels, each counting the same however rare.
    """

    labels: tuple[str, ...]
    written: tuple[str, ...]
    counts: Mapping[Pair, int]
    accuracy: Interval
    macro_f1: Interval


def confusion(judged: Sequence[Judged], taxonomy: Sequence[str]) -> Confusion | None:
    """None where no question has a written label."""
    pairs = [
        (item.question.label, item.label if item.label and item.label in taxonomy else OTHER)
        for item in judged
        if item.question.label
    ]
    accuracy, macro_f1 = mean([float(a == b) for a, b in pairs]), resampled(pairs, f1_of)
    if accuracy is None or macro_f1 is None:
        return None
    said = {label for pair in pairs for label in pair}
    order = [*(label for label in taxonomy if label in said), *sorted(said - {*taxonomy, OTHER})]
    written = tuple(label for label in order if any(label == asked for asked, _ in pairs))
    return Confusion((*order, *([OTHER] if OTHER in said else [])), written, Counter(pairs), accuracy, macro_f1)


def f1_of(pairs: Sequence[Pair]) -> float:
    """Unweighted mean of each written label's F1."""
    counts = Counter(pairs)
    written, said = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    scores = [2 * counts[label, label] / (written[label] + said[label]) for label in written]
    return sum(scores) / len(scores)
