"""Points and lines for inline SVG. Pure; the template draws them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.evaluation.measures import MEASURES, System
from adapters.evaluation.statistics import Interval

LEFT, RIGHT, ROW, SYSTEM_ROW = 150, 640, 16, 15
CURVE_WIDTH, CURVE_HEIGHT, MARGIN = 420, 160, 36


@dataclass(frozen=True, slots=True)
class Whisker:
    """One interval. All in SVG units; `system` numbers the systems from 0."""

    system: int
    x: float
    low: float
    high: float
    y: float
    label: str


@dataclass(frozen=True, slots=True)
class Heading:
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Forest:
    """Each measure's interval of each system, from 0 to 100 %."""

    width: int
    height: float
    left: int
    right: int
    headings: tuple[Heading, ...]
    whiskers: tuple[Whisker, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """Losses by epoch; `training` and `heldout` are what an SVG polyline takes.

    dots: (x, y, loss, colour). losses: (y, text). epochs: (x, text).
    """

    width: int
    height: int
    margin: int
    training: str
    heldout: str
    dots: tuple[tuple[float, float, str, int], ...]
    losses: tuple[tuple[float, str], ...]
    epochs: tuple[tuple[float, str], ...]


def forest(systems: Sequence[System]) -> Forest:
    headings: list[Heading] = []
    whiskers: list[Whisker] = []
    y = 22.0
    for name, measure in MEASURES.items():
        found = [(number, system.scores[name]) for number, system in enumerate(systems)]
        if not any(interval for _, interval in found):
            continue
        headings.append(Heading(y + SYSTEM_ROW * (len(systems) - 1) / 2 + 4, measure.title))
        for number, interval in found:
            if interval:
                whiskers.append(_whisker(number, interval, y + number * SYSTEM_ROW, systems[number].name))
        y += len(systems) * SYSTEM_ROW + ROW
    return Forest(RIGHT + 60, y + 10, LEFT, RIGHT, tuple(headings), tuple(whiskers))


def learning_curve(card: Mapping[str, Any]) -> Curve | None:
    """None where the card tells no losses. A card is shown, never trusted: what is no number is left out."""
    epochs = card.get("epochs")
    rows = [row for row in epochs if isinstance(row, dict)] if isinstance(epochs, list) else []
    training = [(number, loss) for number, row in enumerate(rows, 1) if (loss := _number(row.get("training_loss")))]
    heldout = [(number, loss) for number, row in enumerate(rows, 1) if (loss := _number(row.get("validation_loss")))]
    if before := _number(card.get("base_validation_loss")):
        heldout = [(0, before), *heldout]
    if not training:
        return None
    largest = max(loss for _, loss in (*training, *heldout))
    last = max(len(rows), 1)

    def place(point: tuple[int, float]) -> tuple[float, float, str]:
        x = MARGIN + (CURVE_WIDTH - 2 * MARGIN) * point[0] / last
        y = CURVE_HEIGHT - MARGIN - (CURVE_HEIGHT - 2 * MARGIN) * point[1] / largest
        return round(x, 1), round(y, 1), f"{point[1]:.3f}"

    return Curve(
        CURVE_WIDTH,
        CURVE_HEIGHT,
        MARGIN,
        _line([place(point) for point in training]),
        _line([place(point) for point in heldout]),
        (*((*place(point), 0) for point in training), *((*place(point), 2) for point in heldout)),
        tuple((place((0, share * largest))[1], f"{share * largest:.1f}") for share in (0.0, 0.5, 1.0)),
        tuple((place((number, 0.0))[0], str(number)) for number in _some(last)),
    )


def _whisker(system: int, interval: Interval, y: float, name: str) -> Whisker:
    def x(share: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * share, 1)

    return Whisker(system, x(interval.value), x(interval.low), x(interval.high), y, f"{name}: {interval}")


def _line(points: Sequence[tuple[float, float, str]]) -> str:
    return " ".join(f"{x},{y}" for x, y, _ in points)


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e6
    return float(value) if is_number else None  # type: ignore[arg-type]  # told above


def _some(last: int) -> list[int]:
    """At most about eight epochs are named."""
    step = -(-last // 8)
    return list(range(0, last + 1, step))
