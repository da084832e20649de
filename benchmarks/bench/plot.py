"""Lines over a number, as parts of an inline SVG. Pure; the template draws them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 260, 56, 24, 12, 34
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Dot:
    x: float
    y: float
    label: str


@dataclass(frozen=True, slots=True)
class Line:
    """number: of its colour. points: what an SVG polyline takes."""

    name: str
    number: int
    points: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Plot:
    """In SVG units, y downwards."""

    title: str
    across: str
    up: str
    lines: tuple[Line, ...]
    across_ticks: tuple[Tick, ...]
    up_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True, slots=True)
class Axis:
    """From values to SVG units."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def place(self, value: float) -> float:
        low, high, at = (math.log10(each) if self.is_log else each for each in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 1)


def draw(title: str, across: str, up: str, series: Mapping[str, Points], *, is_log: bool = False) -> Plot | None:
    """A line for each name, in the order given; None for nothing to draw. is_log: of the axis upwards, whose values
    must then be above 0.
    """
    kept = {name: sorted(points) for name, points in series.items() if points}
    if not kept:
        return None
    xs = sorted({x for points in kept.values() for x, _ in points})
    ys = [y for points in kept.values() for _, y in points]
    ups = _decades(min(ys), max(ys)) if is_log else _round_steps(max(ys))
    along = Axis(xs[0], xs[-1], LEFT, WIDTH - RIGHT)
    upwards = Axis(ups[0], ups[-1], HEIGHT - BOTTOM, TOP, is_log)
    lines = tuple(_line(name, number, points, along, upwards) for number, (name, points) in enumerate(kept.items()))
    return Plot(
        title,
        across,
        up,
        lines,
        tuple(Tick(along.place(x), f"{x:,.0f}") for x in xs),
        tuple(Tick(upwards.place(y), f"{y:g}") for y in ups),
    )


def _line(name: str, number: int, points: Points, along: Axis, upwards: Axis) -> Line:
    dots = tuple(Dot(along.place(x), upwards.place(y), f"{name}: {y:.3g} at {x:,.0f}") for x, y in points)
    return Line(name, number, " ".join(f"{dot.x},{dot.y}" for dot in dots), dots)


def _decades(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def _round_steps(high: float) -> list[float]:
    """From 0 in three to six steps of 1, 2 or 5 times a power of ten."""
    if high <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(high))
    step = next(power * each for each in (0.2, 0.5, 1.0, 2.0) if high <= 6 * power * each)
    return [round(step * number, 10) for number in range(math.ceil(high / step) + 1)]
