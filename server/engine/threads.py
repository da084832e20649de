"""How many threads compute the next step: fewer while another process holds some of the processors. Pure.

All threads meet many times in each step, and the slowest one keeps the others waiting. So two threads of which one
shares its core with a busy process take three times as long as alone, where one thread on the free core takes less than
twice as long. No count is known to be the best one beforehand: a lower one is tried where our threads get too little of
their time, a higher one from time to time, the next one first.

Times are noisy, on a virtual machine most of all, so medians are compared. Fewer threads must be clearly quicker to
stay, more threads only just: being wrong about a moment's noise must not last.
"""

import statistics
from dataclasses import dataclass, field

BUSY_SHARE = 0.7
"""Below it our threads wait for somebody: of the time that they all could have computed, how much they did."""
WINDOW_STEPS = 8
LONG_SECONDS = 0.4
"""A window ends after so many steps; of steps that together took so long, after two."""
FEWER_BETTER, MORE_BETTER = 0.75, 1.0
"""What fewer and more threads may take, of the time that the count before them took, to be chosen."""
HOPELESS = 1.3
"""A trial is over when two steps in a row took so many times as long."""
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.5, 2.0
"""Of steps until another count is tried again: from the first to the last, twice as long after each trial in vain."""


@dataclass(slots=True)
class _Window:
    """Of steps with one count. slowness: of each, how many times longer than the table says."""

    seconds: float = 0.0
    computed: float = 0.0
    slowness: list[float] = field(default_factory=list)

    def add(self, seconds: float, computed: float, expected: float) -> None:
        self.seconds += seconds
        self.computed += computed
        self.slowness.append(seconds / expected)

    @property
    def is_full(self) -> bool:
        return len(self.slowness) >= (2 if self.seconds > LONG_SECONDS else WINDOW_STEPS)

    @property
    def median(self) -> float:
        return statistics.median(self.slowness)


class Threads:
    """`count` is to be used for the next step, and what that took is noted; `settled`: apart from trials.

    most: that were asked for; below 2 nothing is ever tried.
    """

    def __init__(self, most: int) -> None:
        self.count = most
        self.settled = most
        self._most = most
        self._slowness = 1.0
        self._window = _Window()
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._seconds_since = 0.0
        self._stride = 1
        """How far off the next trial is: the next count may change nothing where the one behind it does."""

    def note(self, seconds: float, computed: float, expected: float) -> None:
        """seconds: by the clock. computed: by all threads together. expected: by the table, at the most threads."""
        if self._most < 2:
            return
        self._window.add(seconds, computed, expected)
        self._seconds_since += seconds
        if self._window.is_full or self._is_hopeless():
            window, self._window = self._window, _Window()
            if self.count == self.settled:
                self._judge(window)
            else:
                self._choose(window)

    def _is_hopeless(self) -> bool:
        last = self._window.slowness[-2:]
        return self.count != self.settled and len(last) == 2 and min(last) > HOPELESS * self._slowness

    def _judge(self, window: _Window) -> None:
        """What is settled goes on, or another count is tried."""
        self._slowness = window.median
        if self._seconds_since < self._retry_seconds:
            return
        if self.count > 1 and window.computed < BUSY_SHARE * self.count * window.seconds:
            self.count = max(self.count - self._stride, 1)
        elif self.count < self._most:
            self.count = min(self.count + self._stride, self._most)

    def _choose(self, window: _Window) -> None:
        """After a trial."""
        limit = FEWER_BETTER if self.count < self.settled else MORE_BETTER
        is_better = window.median < limit * self._slowness
        self._retry_seconds = FIRST_RETRY_SECONDS if is_better else min(2 * self._retry_seconds, LAST_RETRY_SECONDS)
        self._stride = 1 if is_better or self.count in (1, self._most) else 2 * self._stride
        self._seconds_since = 0.0
        if is_better:
            self.settled, self._slowness = self.count, window.median
        self.count = self.settled
