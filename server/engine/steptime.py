"""How long a decode takes by its number of rows, and what follows from it. Pure.

On a CPU this is no smooth curve: other kernels begin at some counts, so 7 rows may take longer than 8, and two rows
longer than twice one row (llama.cpp's Q8_0 on AVX-512: 30 ms for 1, 101 for 2, 259 for 7, 181 for 8). So nothing is
assumed about it; it is measured (`server.engine.steptrial`) and looked up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

SURE = 1.05
"""What is measured is noisy: another number of rows than the plain one must be faster by this factor to be chosen."""


@dataclass(frozen=True)
class StepTable:
    """points: (rows, seconds), rows rising from 1 on. Between them linear; beyond the last one in proportion to it."""

    points: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        """Raises ValueError where this is no such table."""
        rows = [number for number, _ in self.points]
        if not rows or rows[0] != 1 or any(first >= second for first, second in pairwise(rows)):
            raise ValueError(f"the rows {rows} do not rise from 1 on")
        if not all(np.isfinite(seconds) and seconds > 0 for _, seconds in self.points):
            raise ValueError("a step takes no time, or is no number")

    def seconds(self, num_rows: int) -> float:
        return self._all[num_rows] if num_rows <= self._last else self._all[self._last] * num_rows / self._last

    def filled_seconds(self, num_rows: int, num_spare: int) -> float:
        """With up to `num_spare` rows more that nobody needs, where that is quicker."""
        return min(self.seconds(num_rows + spare) for spare in range(num_spare + 1 if self.has_dips else 1))

    def streams(self, num_streams: int, num_spare: int = 0) -> int:
        """How many of so many streams should share a batch, so that they get most tokens a second together.

        num_spare: rows that may be added to fill it up.
        """
        rates = [number / self.filled_seconds(number, num_spare) for number in range(1, num_streams + 1)]
        best = int(np.argmax(rates))
        return best + 1 if rates[best] > SURE * rates[-1] else num_streams

    def room(self, num_rows: int, limit_seconds: float, most: int) -> int:
        """How many rows, up to `most`, can be added to `num_rows` so that the step takes no longer than that."""
        fitting = (extra for extra in range(most, 0, -1) if self.seconds(num_rows + extra) <= limit_seconds)
        return next(fitting, 0)

    def drafts(self, num_streams: int, gains: Sequence[float]) -> int:
        """How many rows to add to those of `num_streams` for tokens that may be right, the likeliest first.

        gains: the chance of each that it becomes part of an answer. Rows without a chance are worth adding where more
        rows take less time. 0 unless tokens a second grow by the factor SURE.
        """
        plain = num_streams / self.seconds(num_streams)
        best, best_rate, expected = 0, SURE * plain, float(num_streams)
        for number, gain in enumerate(gains, 1):
            expected += gain
            rate = expected / self.seconds(num_streams + number)
            if rate > best_rate:
                best, best_rate = number, rate
        return best

    @cached_property
    def has_dips(self) -> bool:
        """Some number of rows takes clearly longer than a larger one."""
        return any(seconds > SURE * min(self._all[rows:]) for rows, seconds in self.points)

    @property
    def _last(self) -> int:
        return self.points[-1][0]

    @cached_property
    def _all(self) -> list[float]:
        """By number of rows; that of none is 0."""
        rows, seconds = zip((0, 0.0), *self.points, strict=True)
        found: list[float] = np.interp(np.arange(self._last + 1), rows, seconds).tolist()
        return found
