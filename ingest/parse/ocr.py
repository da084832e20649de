"""Text of pictures, by RapidOCR with the PP-OCR models that its wheel carries: `pip install housevoice[ocr]`.

The recogniser reads Latin and Chinese script and tells no headings: what it finds are lines of one size. Their order is
from the top down, so columns side by side come out interleaved, as in a table.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.parse.layout import Line

Picture = NDArray[np.uint8]
"""Shape (height, width, 3), in the order blue, green, red."""

MAX_SIDE = 2_000
"""Pixels of a picture's longer side; an A4 page so has 170 dots an inch."""

MIN_SCORE = 0.6
"""Confidence of a line below which it is more likely dirt than text."""


class Ocr:
    """Reads the pictures of one file. `on_start` is called before the first of them: reading takes its own time."""

    def __init__(self, on_start: Callable[[], None]) -> None:
        self._on_start: Callable[[], None] | None = on_start

    def read(self, picture: Picture) -> list[Line]:
        """Lines from the top down, tops counted upwards as on a page. No text gives no lines."""
        if self._on_start:
            self._on_start()
            self._on_start = None
        found = _engine()(picture)
        if found.boxes is None or found.txts is None:
            return []
        boxes = [Box.around(corners) for corners in found.boxes]
        words = zip(boxes, found.txts, found.scores, strict=True)
        return lines_of([(box, text) for box, text, score in words if score >= MIN_SCORE])


@dataclass(frozen=True, slots=True)
class Box:
    """The upright rectangle around a piece of text, in pixels from the upper left."""

    left: float
    top: float
    bottom: float

    @classmethod
    def around(cls, corners: Sequence[Sequence[float]]) -> "Box":
        tops = [float(corner[1]) for corner in corners]
        return cls(min(float(corner[0]) for corner in corners), min(tops), max(tops))

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


def lines_of(pieces: Sequence[tuple[Box, str]]) -> list[Line]:
    """Pieces side by side are one line. All lines get the usual height, so that none is taken for a heading."""
    if not pieces:
        return []
    height = float(np.median([box.bottom - box.top for box, _ in pieces]))
    rows: list[list[tuple[Box, str]]] = []
    for box, text in sorted(pieces, key=lambda piece: piece[0].middle):
        if rows and abs(rows[-1][-1][0].middle - box.middle) < height / 2:
            rows[-1].append((box, text))
        else:
            rows.append([(box, text)])
    return [_line(sorted(row, key=lambda piece: piece[0].left), height) for row in rows]


def _line(row: Sequence[tuple[Box, str]], height: float) -> Line:
    middle = sum(box.middle for box, _ in row) / len(row)
    return Line("   ".join(text for _, text in row), -middle, height)


@functools.lru_cache(maxsize=1)
def _engine() -> Any:
    """Loading takes seconds, so a worker keeps it. One thread: the worker's limits count the time of all."""
    from rapidocr import RapidOCR

    logging.disable(logging.WARNING)
    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.use_cls": False,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )
