"""Are two greedy answers the same? Shared by the benchmarks.

Kernels round differently for other numbers of batch rows, so an answer may part from its reference where the
reference's two best logits lie close together; anywhere else it must not.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

NEAR = 0.1
"""Logits closer than this are a near tie."""

Verdict = Literal["equal", "parted at a near tie", "different"]
VERDICTS: tuple[Verdict, ...] = ("equal", "parted at a near tie", "different")


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer. `gap` lies between its position's best and second best logit."""

    text: str
    gap: float


def compare(reference: Sequence[Token], answer: Sequence[Token]) -> Verdict:
    """An answer that ends where its reference writes on parts there; one that writes on is different."""
    if (gap := gap_at_parting(reference, answer)) is None:
        return "equal"
    return "parted at a near tie" if gap < NEAR else "different"


def gap_at_parting(reference: Sequence[Token], answer: Sequence[Token]) -> float | None:
    """The reference's gap where the answer first differs; infinite where it writes on, None for equal answers."""
    for expected, found in zip(reference, answer, strict=False):
        if expected.text != found.text:
            return expected.gap
    if len(answer) > len(reference):
        return math.inf
    return reference[len(answer)].gap if len(answer) < len(reference) else None


def tally(verdicts: Iterable[Verdict]) -> str:
    counts = Counter(verdicts)
    return ", ".join(f"{counts[name]} {name}" for name in VERDICTS)
