"""Means over questions with 95 % intervals, and differences of two systems on the same questions."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2_000
SEED = 7
TAIL = 0.025

T = TypeVar("T")
Numbers = NDArray[np.float64]
Values = Sequence[float | None]
"""One for each question; None where a measure does not apply to it."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over `num` questions with its 95 % interval."""

    value: float
    low: float
    high: float
    num: int

    def __str__(self) -> str:
        return f"{100 * self.value:.0f} % ({100 * self.low:.0f}-{100 * self.high:.0f}, n={self.num})"


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two means, first minus second; `num` questions counted for both, or for unpaired sets the fewer of the two."""

    value: float
    low: float
    high: float
    num: int

    def __str__(self) -> str:
        return f"{points(self.value)} ({points(self.low)} to {points(self.high)})"


def points(share: float) -> str:
    """A difference of shares, signed: 0.125 is "+12", and nothing is "0"."""
    return f"{100 * share:+.0f}" if round(100 * share) else "0"


def mean(values: Values) -> Interval | None:
    """Percentile bootstrap (Efron 1979) over questions.

    Where all values are 0, or all are 1, resampling shows no spread at all, so the open end is the exact one of Clopper
    and Pearson (1934): 20 of 20 is not 100 % for certain, but 83 to 100 %.
    """
    numbers = _known(values)
    if not len(numbers):
        return None
    if (bound := _exact(numbers)) is not None:
        return bound
    low, high = np.percentile(numbers[_draws(len(numbers))].mean(axis=1), (100 * TAIL, 100 * (1 - TAIL)))
    return Interval(float(numbers.mean()), float(low), float(high), len(numbers))


def paired_difference(first: Values, second: Values) -> Difference | None:
    """Paired bootstrap: whole questions are drawn, so what makes a question hard for both does not count.

    Where all questions agree, what has not been seen is bounded as in `mean`: 6 of 6 is no proof of 100 points.
    """
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if not pairs:
        return None
    apart = np.asarray([a - b for a, b in pairs], dtype=np.float64)
    if (bound := _unanimous(apart)) is not None:
        return bound
    low, high = np.percentile(apart[_draws(len(apart))].mean(axis=1), (100 * TAIL, 100 * (1 - TAIL)))
    return Difference(float(apart.mean()), float(low), float(high), len(apart))


def unpaired_difference(first: Values, second: Values) -> Difference | None:
    """For two sets of questions: the two intervals put together as Newcombe (1998, method 10) does."""
    one, two = mean(first), mean(second)
    if one is None or two is None:
        return None
    value = one.value - two.value
    below = math.hypot(one.value - one.low, two.high - two.value)
    above = math.hypot(one.high - one.value, two.value - two.low)
    return Difference(value, value - below, value + above, min(one.num, two.num))


def resampled(items: Sequence[T], of: Callable[[Sequence[T]], float]) -> Interval | None:
    """Of any figure that a whole sample has, such as an F1; None for no items."""
    if not items:
        return None
    values = [of([items[place] for place in row]) for row in _draws(len(items))[: RESAMPLES // 4]]
    low, high = np.percentile(values, (100 * TAIL, 100 * (1 - TAIL)))
    return Interval(of(items), float(low), float(high), len(items))


def _exact(numbers: Numbers) -> Interval | None:
    open_end = TAIL ** (1 / len(numbers))
    if (numbers == 1).all():
        return Interval(1.0, open_end, 1.0, len(numbers))
    if (numbers == 0).all():
        return Interval(0.0, 0.0, 1 - open_end, len(numbers))
    return None


def _unanimous(apart: Numbers) -> Difference | None:
    """All differences 0, or all 1, or all -1."""
    seen = float(apart[0])
    if seen not in (-1.0, 0.0, 1.0) or not (apart == seen).all():
        return None
    unseen = 1 - TAIL ** (1 / len(apart))
    return Difference(seen, max(seen - unseen, -1.0), min(seen + unseen, 1.0), len(apart))


def _draws(num: int) -> NDArray[np.int64]:
    """Places of `num` questions, drawn with replacement RESAMPLES times; always the same ones."""
    return np.random.default_rng(SEED).integers(num, size=(RESAMPLES, num))


def _known(values: Values) -> Numbers:
    return np.asarray([value for value in values if value is not None], dtype=np.float64)
