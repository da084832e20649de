"""From token bytes to text that may be shown: whole characters only, and nothing of a stop string. Pure."""

import codecs
from dataclasses import dataclass, field


@dataclass(slots=True)
class TextStream:
    """Text is held back while it could still become a stop string.

    The answer is cut at the stop string that is complete first (of several complete at the same character, the
    longest), so the result does not depend on how the text was split into tokens.
    """

    stop: tuple[str, ...] = ()
    is_stopped: bool = False
    _held: str = ""
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")(errors="replace")
    )

    def push(self, piece: bytes) -> str:
        """Add bytes; returns what can be shown now. Nothing more comes once `is_stopped`."""
        if self.is_stopped:
            return ""
        self._held += self._decoder.decode(piece)
        cut = self._first_stop()
        if cut is not None:
            self.is_stopped = True
            text, self._held = self._held[:cut], ""
            return text
        return self._take(len(self._held) - self._num_possible())

    def finish(self) -> str:
        """The rest, at the end of the answer. Bytes of an unfinished character are dropped."""
        return self._take(len(self._held))

    def _take(self, length: int) -> str:
        text, self._held = self._held[:length], self._held[length:]
        return text

    def _first_stop(self) -> int | None:
        found = [(start + len(stop), start) for stop in self.stop if (start := self._held.find(stop)) >= 0]
        return min(found)[1] if found else None

    def _num_possible(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        longest = max((len(stop) for stop in self.stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self.stop):
                return length
        return 0
