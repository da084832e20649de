"""Are two greedy answers the same? Shared by the benchmarks.

Kernels round differently for other numbers of batch rows, so an answer may part from its reference where the
reference's two best logits lie close together; anywhere else it must not.
"""

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
    place = next(
        (k for k, (one, other) in enumerate(zip(reference, answer, strict=False)) if one.text != other.text), None
    )
    if place is None:
        if len(reference) == len(answer):
            return "equal"
        if len(answer) > len(reference):
            return "different"
        place = len(answer)
    return "parted at a near tie" if reference[place].gap < NEAR else "different"


def tally(verdicts: Iterable[Verdict]) -> str:
    counts = Counter(verdicts)
    return ", ".join(f"{counts[name]} {name}" for name in VERDICTS)
