"""How many threads compute the next step: fewer while another process holds some of the processors. Pure.

All threads meet many times in each step, and the slowest one keeps the others waiting. So two threads of which one
shares its core with a busy process take three times as long as alone, where one thread on the free core takes less than
twice as long. No count is known to be the best one beforehand: a lower one is tried where our threads get too little of
their time, a higher one from time to time, the next one first, and whichever was quicker stays.
"""

from dataclasses import dataclass

BUSY_SHARE = 0.75
"""Below it our threads wait for somebody: of the time that they all could have computed, how much they did."""
TRIAL_STEPS = 4
TRIAL_SECONDS = 0.05
"""A trial ends after so many steps that took at least so long; of longer steps, after two."""
BETTER = 0.93
"""Times are noisy: another count must take less than this share of the time to be chosen."""
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.5, 4.0
"""Of steps until more threads are tried again: from the first to the last, twice as long after each trial in vain."""


@dataclass(slots=True)
class _Window:
    """Of steps with one count. expected: what they were to take by the table."""

    num_steps: int = 0
    seconds: float = 0.0
    computed: float = 0.0
    expected: float = 0.0

    def add(self, seconds: float, computed: float, expected: float) -> None:
        self.num_steps += 1
        self.seconds += seconds
        self.computed += computed
        self.expected += expected

    @property
    def is_full(self) -> bool:
        return self.seconds >= TRIAL_SECONDS and self.num_steps >= (
            2 if self.seconds > 2 * TRIAL_SECONDS else TRIAL_STEPS
        )

    @property
    def slowness(self) -> float:
        return self.seconds / self.expected


class Threads:
    """`count` is to be used for the next step, and what that took is noted; `settled`: apart from trials.

    most: that were asked for; below 2 nothing is ever tried.
    """

    def __init__(self, most: int) -> None:
        self.count = most
        self._most = most
        self.settled = most
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
        if self._window.is_full:
            window, self._window = self._window, _Window()
            if self.count == self.settled:
                self._judge(window)
            else:
                self._choose(window)

    def _judge(self, window: _Window) -> None:
        """What is settled goes on, or a neighbour is tried."""
        self._slowness = window.slowness
        may_try = self._seconds_since >= self._retry_seconds
        if self.count < self._most and may_try:
            self.count = min(self.count + self._stride, self._most)
        elif self.count > 1 and may_try and window.computed < BUSY_SHARE * self.count * window.seconds:
            self.count = max(self.count - self._stride, 1)

    def _choose(self, window: _Window) -> None:
        """After a trial."""
        is_better = window.slowness < BETTER * self._slowness
        self._retry_seconds = FIRST_RETRY_SECONDS if is_better else min(2 * self._retry_seconds, LAST_RETRY_SECONDS)
        self._stride = 1 if is_better or self.count in (1, self._most) else 2 * self._stride
        self._seconds_since = 0.0
        if is_better:
            self.settled, self._slowness = self.count, window.slowness
        self.count = self.settled
