"""What the next batch computes: whose turn it is, which streams decode, which prompts are read further. Pure.

Requests are grouped by voice: an adapter, or the base with all adapters that may share its batches (`mixer`). A decode
has one voice, and voices take turns in the order in which they began to wait. A turn is over after `turn_steps`
batches, or as soon as it has read one slice of prompt: a long prompt costs the streams of other brands one slice at a
time. Slices are smaller while streams run (`server.engine.rows`), and turns of streams then are shorter by as much, so
that prompts are not read more slowly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from server.engine.rows import NO_OFFER, PLAIN_ROWS, Offer, Rows


@dataclass(frozen=True, slots=True)
class Work:
    """What one running request needs next: `num_prefill` prompt tokens that are to be read in this voice, or, where
    that is 0, one more token of its answer.

    offer: which drafts that token could bring along.
    """

    request_id: str
    voice: str
    num_prefill: int
    offer: Offer = NO_OFFER


@dataclass(frozen=True, slots=True)
class Slice:
    request_id: str
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One batch: all in one voice, each request at most once. drafts: of those decodes that carry any.

    Decodes with drafts stand last: the cells of drafts that turn out wrong are then the last ones.
    """

    voice: str
    decodes: tuple[str, ...]
    slices: tuple[Slice, ...]
    drafts: tuple[Slice, ...] = ()

    def num_drafts(self, request_id: str) -> int:
        return next((part.num_tokens for part in self.drafts if part.request_id == request_id), 0)


class Scheduler:
    """Keeps whose turn it is between calls of `plan`, and nothing else."""

    def __init__(self, turn_steps: int, slice_tokens: int, rows: Rows = PLAIN_ROWS) -> None:
        self._turn_steps = turn_steps
        self._slice_tokens = self._allowance = slice_tokens
        self._rows = rows
        self._served: dict[str, int] = {}
        self._voice: str | None = None
        self._num_steps = 0
        self._num_prefilled = 0
        self._clock = 0
        self._waiting_since: dict[str, int] = {}

    def plan(self, works: Sequence[Work], pace: float = 1.0) -> Plan | None:
        """The next batch, or None where nobody has work. `works` is in the order of admission.

        pace: how many times longer steps take now than when they were measured.
        """
        if not works:
            self._voice = None
            self._waiting_since.clear()
            self._served.clear()
            return None
        self._voice = self._choose(works)
        self._served = {work.request_id: self._served.get(work.request_id, 0) for work in works}
        mine = [work for work in works if work.voice == self._voice]
        streams = [work for work in mine if work.num_prefill == 0]
        self._allowance = self._slice_size(works, len(streams), pace)
        slices = tuple(self._slices(mine))
        if slices:
            plan = Plan(self._voice, tuple(work.request_id for work in streams), slices)
        else:
            plan = self._plan_streams(self._voice, streams)
        self._num_steps += 1
        self._num_prefilled += sum(part.num_tokens for part in plan.slices)
        return plan

    def _plan_streams(self, voice: str, streams: list[Work]) -> Plan:
        """Of those that decode, the ones that waited longest, as many as go well together, with their drafts."""
        chosen = sorted(streams, key=lambda work: self._served[work.request_id])
        chosen = chosen[: self._rows.num_together([work.offer for work in streams])]
        self._served |= dict.fromkeys((work.request_id for work in chosen), self._clock)
        counts = self._rows.drafts([work.offer for work in chosen])
        carried = {work.request_id: count for work, count in zip(chosen, counts, strict=True)}
        names = sorted(
            (work.request_id for work in streams if work.request_id in carried), key=lambda n: carried[n] > 0
        )
        return Plan(voice, tuple(names), (), tuple(Slice(name, carried[name]) for name in names if carried[name]))

    def _slice_size(self, works: Sequence[Work], num_decodes: int, pace: float) -> int:
        num_streams = sum(work.num_prefill == 0 for work in works)
        num_reading = len({work.voice for work in works if work.num_prefill})
        return self._rows.slice_size(self._slice_tokens, num_decodes, num_streams, num_reading, pace)

    def _choose(self, works: Sequence[Work]) -> str:
        self._clock += 2  # odd times are left for a voice that goes to the end of the line
        voices = dict.fromkeys(work.voice for work in works)
        self._waiting_since = {voice: self._waiting_since.get(voice, self._clock) for voice in voices}
        is_reading = any(work.num_prefill for work in works if work.voice != self._voice)
        if self._voice in voices and (len(voices) == 1 or not self._is_turn_over(is_reading=is_reading)):
            return self._voice
        if self._voice in voices:
            self._waiting_since[self._voice] = self._clock + 1
        self._num_steps = self._num_prefilled = 0
        return min(voices, key=lambda voice: self._waiting_since[voice])

    def _is_turn_over(self, *, is_reading: bool) -> bool:
        """is_reading: others have prompts to read. They get as much of it for each step as with full slices."""
        share = self._allowance / self._slice_tokens if is_reading else 1.0
        return self._num_steps >= max(1, round(self._turn_steps * share)) or self._num_prefilled >= self._allowance

    def _slices(self, works: Sequence[Work]) -> list[Slice]:
        """One slice's worth of prompt, oldest request first."""
        slices, left = [], self._allowance
        for work in works:
            size = min(work.num_prefill, left)
            if size > 0:
                slices.append(Slice(work.request_id, size))
                left -= size
        return slices
