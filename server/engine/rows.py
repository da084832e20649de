"""How the rows of one batch are used: streams, prompt slices, drafts. Pure; decided from measured step times alone.

Without a table (nothing was measured) all streams share a batch, slices have their full size, and nothing is drafted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from server.engine.drafts import MAX_DRAFTS
from server.engine.steptime import StepTable

SMALLEST_SLICE = 8
"""Prompt rows that a batch takes even where they exceed the gap that streams are promised: reading must go on."""
SLOWEST = 2.0
"""A step with prompt rows may take so many times longer than without, even beyond that gap: on a machine that needs all
of it for a plain step, prompts would never be read otherwise."""
NEW_SHARE = 0.1
SMALLEST_FACTOR, LARGEST_FACTOR = 0.5, 16.0


@dataclass(frozen=True, slots=True)
class Offer:
    """What a stream can carry. gains: the chance of its first, second ... draft to become part of the answer, not
    rising. room: how many drafts it can carry, whether or not it has any that are worth something."""

    gains: tuple[float, ...] = ()
    room: int = 0


NO_OFFER = Offer()


@dataclass(frozen=True, slots=True)
class Rows:
    """max_rows and max_logits: of one decode. max_gap_seconds: how long prompts of others
    may hold up a running stream."""

    table: StepTable | None = None
    max_rows: int = 0
    max_logits: int = 0
    max_gap_seconds: float = 0.0

    def slice_size(self, most: int, num_decodes: int, num_streams: int, num_reading: int, pace: float) -> int:
        """Prompt tokens, up to `most`, that may be read beside `num_decodes` rows.

        num_streams: that wait for tokens, in any voice. num_reading: voices with prompts to read, each of which may
        hold the streams up once. pace: how many times longer steps take now than when they were measured.
        """
        if self.table is None or num_streams == 0 or num_reading == 0:
            return most
        plain = self.table.seconds(max(num_decodes, 1))
        limit = max(self.max_gap_seconds / (pace * num_reading), SLOWEST * plain)
        return max(self.table.room(num_decodes, limit, most), min(SMALLEST_SLICE, most))

    def num_together(self, offers: Sequence[Offer]) -> int:
        """How many of these streams go into one batch."""
        if self.table is None or not offers:
            return len(offers)
        return self.table.streams(len(offers), min(offer.room for offer in offers))

    def drafts(self, offers: Sequence[Offer]) -> list[int]:
        """How many drafts each stream carries. Gains do not rise, so the best rows of all are the first ones of each;
        rows without a chance only fill the batch up, where the table says that more rows are quicker."""
        counts = [0] * len(offers)
        if self.table is None:
            return counts
        rows = [(gain, -place, -stream) for stream, it in enumerate(offers) for place, gain in enumerate(it.gains)]
        if self.table.has_dips:
            rows += [
                (0.0, -place, -stream) for stream, it in enumerate(offers) for place in range(len(it.gains), it.room)
            ]
        most = max(0, min(self.max_rows, self.max_logits) - len(offers))
        best = sorted(rows, reverse=True)[:most]
        for _, _, stream in best[: self.table.drafts(len(offers), [gain for gain, _, _ in best])] if best else ():
            counts[-stream] += 1
        return counts


PLAIN_ROWS = Rows()


def draft_problem(rows: Rows, setting: str, *, can_cut: bool) -> str:
    """Why nothing can be drafted; empty where drafts are tried as far as the table says that they pay."""
    if setting == "off":
        return 'engine.drafts = "off"'
    if not can_cut:
        return "this model keeps a running state, from which wrong drafts cannot be taken out again"
    if rows.table is None:
        return "step times were not measured"
    if not rows.drafts([Offer((1.0,) * MAX_DRAFTS)])[0]:
        return "further rows cost as much as steps of their own on this machine"
    return ""


class Pace:
    """How many times longer steps take than when they were measured: longer texts, adapters, other processes."""

    def __init__(self, table: StepTable | None) -> None:
        self._table = table
        self.factor = 1.0

    def note(self, num_rows: int, seconds: float) -> None:
        """A step took that long."""
        if self._table is not None:
            found = seconds / self._table.seconds(num_rows)
            self.factor += NEW_SHARE * (min(max(found, SMALLEST_FACTOR), LARGEST_FACTOR) - self.factor)
