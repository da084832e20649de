"""What the next batch computes: whose turn it is, which streams decode, which prompts are read further. Pure.

One decode has one adapter, so requests are grouped by voice (an adapter, or the base alone), and the voices take turns
in the order in which they began to wait. A turn is over after `turn_steps` batches, or as soon as it has read one slice
of prompt: a long prompt costs the streams of other brands one slice at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Work:
    """What one running request needs next: `num_prefill` prompt tokens that are to be read in this voice, or, where
    that is 0, one more token of its answer."""

    request_id: str
    voice: str
    num_prefill: int


@dataclass(frozen=True, slots=True)
class Slice:
    request_id: str
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One batch: all in one voice, each request at most once."""

    voice: str
    decodes: tuple[str, ...]
    slices: tuple[Slice, ...]


class Scheduler:
    """Keeps whose turn it is between calls of `plan`, and nothing else."""

    def __init__(self, turn_steps: int, slice_tokens: int) -> None:
        self._turn_steps = turn_steps
        self._slice_tokens = slice_tokens
        self._voice: str | None = None
        self._num_steps = 0
        self._num_prefilled = 0
        self._clock = 0
        self._waiting_since: dict[str, int] = {}

    def plan(self, works: Sequence[Work]) -> Plan | None:
        """The next batch, or None where nobody has work. `works` is in the order of admission."""
        if not works:
            self._voice = None
            self._waiting_since.clear()
            return None
        self._voice = self._choose(works)
        mine = [work for work in works if work.voice == self._voice]
        plan = Plan(
            self._voice,
            tuple(work.request_id for work in mine if work.num_prefill == 0),
            tuple(self._slices(mine)),
        )
        self._num_steps += 1
        self._num_prefilled += sum(part.num_tokens for part in plan.slices)
        return plan

    def _choose(self, works: Sequence[Work]) -> str:
        self._clock += 2  # odd times are left for a voice that goes to the end of the line
        voices = dict.fromkeys(work.voice for work in works)
        self._waiting_since = {voice: self._waiting_since.get(voice, self._clock) for voice in voices}
        if self._voice in voices and (len(voices) == 1 or not self._is_turn_over()):
            return self._voice
        if self._voice in voices:
            self._waiting_since[self._voice] = self._clock + 1
        self._num_steps = self._num_prefilled = 0
        return min(voices, key=lambda voice: self._waiting_since[voice])

    def _is_turn_over(self) -> bool:
        return self._num_steps >= self._turn_steps or self._num_prefilled >= self._slice_tokens

    def _slices(self, works: Sequence[Work]) -> list[Slice]:
        """One slice's worth of prompt, oldest request first."""
        slices, left = [], self._slice_tokens
        for work in works:
            size = min(work.num_prefill, left)
            if size > 0:
                slices.append(Slice(work.request_id, size))
                left -= size
        return slices
