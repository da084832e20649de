"""Requests per minute and key: a token bucket each, so a burst of one minute's worth passes and no more."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from config.errors import OverloadedError


@dataclass(slots=True)
class Bucket:
    level: float
    seen_at: float


class RateLimiter:
    """per_minute 0 means no limit. Used from the event loop only."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}

    def take(self, key_id: str) -> None:
        """Raises OverloadedError that says when the next request will pass."""
        if not self._per_minute:
            return
        now = self._clock()
        bucket = self._buckets.setdefault(key_id, Bucket(self._per_minute, now))
        bucket.level = min(self._per_minute, bucket.level + (now - bucket.seen_at) * self._per_minute / 60)
        bucket.seen_at = now
        if bucket.level < 1:
            seconds = math.ceil((1 - bucket.level) * 60 / self._per_minute)
            raise OverloadedError(f"This key may send {self._per_minute} requests a minute.", seconds)
        bucket.level -= 1
