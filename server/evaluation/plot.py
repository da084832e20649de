"""Two distributions as bars for an inline SVG. Pure; the template draws them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_BINS = 25
WIDTH, HEIGHT = 640, 180


@dataclass(frozen=True, slots=True)
class Bar:
    """In SVG units: y grows downwards and the bar stands on HEIGHT."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Distributions:
    """Of relevance scores from 0 to 1; each distribution's bars add up to the share 1, whatever its size."""

    width: int
    height: int
    answerable: tuple[Bar, ...]
    unanswerable: tuple[Bar, ...]
    floor: Tick
    ticks: tuple[Tick, ...]


def plot(answerable: Sequence[float], unanswerable: Sequence[float], floor: float) -> Distributions:
    shares = [_shares(answerable), _shares(unanswerable)]
    largest = max((share for column in shares for share in column), default=0.0) or 1.0
    first, second = (_bars(column, largest, offset) for column, offset in zip(shares, (0.0, 0.5), strict=True))
    ticks = tuple(Tick(WIDTH * step / 10, f"{step / 10:.1f}") for step in range(11))
    return Distributions(WIDTH, HEIGHT, first, second, Tick(WIDTH * floor, f"floor {floor:g}"), ticks)


def _shares(values: Sequence[float]) -> list[float]:
    """Values outside 0..1 count in the outermost bins."""
    counts, _ = np.histogram(np.clip(np.asarray(values, dtype=np.float64), 0, 1), bins=NUM_BINS, range=(0, 1))
    return [float(count) / max(len(values), 1) for count in counts]


def _bars(shares: Sequence[float], largest: float, offset: float) -> tuple[Bar, ...]:
    step = WIDTH / NUM_BINS
    return tuple(
        Bar(
            x=round((number + offset) * step, 2),
            y=round(HEIGHT * (1 - share / largest), 2),
            width=round(step / 2 - 1, 2),
            height=round(HEIGHT * share / largest, 2),
            label=f"{number / NUM_BINS:.2f} to {(number + 1) / NUM_BINS:.2f}: {100 * share:.1f} %",
        )
        for number, share in enumerate(shares)
        if share
    )
