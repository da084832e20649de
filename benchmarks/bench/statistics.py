"""Medians, percentiles and ratios with how sure they are. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1_000
SEED = 11
TAIL_PERCENT = 2.5


@dataclass(frozen=True, slots=True)
class Ratio:
    """Of one percentile of two systems, with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest rank: a value that was measured. Raises ValueError where there is none."""
    if not values:
        raise ValueError("No percentile of nothing.")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def median(values: Sequence[float]) -> float:
    return percentile(values, 50)


def ratio_of(above: Sequence[float], below: Sequence[float], percent: float = 50) -> Ratio | None:
    """How many times larger `above` is at that percentile; None where either was not measured.

    Each side is drawn again by itself (Efron 1979): the systems took turns, but their requests are not pairs.
    """
    if not above or not below or percentile(below, percent) == 0:
        return None
    draws = np.random.default_rng(SEED)
    drawn = [
        percentile(list(draws.choice(above, len(above))), percent)
        / percentile(list(draws.choice(below, len(below))), percent)
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(drawn, (TAIL_PERCENT, 100 - TAIL_PERCENT))
    return Ratio(percentile(above, percent) / percentile(below, percent), float(low), float(high))
