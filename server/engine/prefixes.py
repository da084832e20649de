"""Which sequence holds which tokens, and who may share them: an exact prefix cache over KV cells, without any I/O.

    sequence 3 (live)   [a b c d e f]          cells  0 1 2 3 4 5
    sequence 7 (idle)   [a b c x y]            cells  0 1 2 6 7       a b c are the same cells, counted once

A prefix is shared only where token, adapter-or-base at each position, and scope are all equal. Finished sequences stay
as idle ones until their cells or their id are needed; the least recently used goes first. Live sequences reserve all
the cells that they can ever need, so nothing that was admitted fails for want of cells.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.errors import EngineError
from config.fact_layout import NO_BOUNDARY, PLAIN, Layout
from server.engine.facts import BlockId, Documents
from server.engine.messages import Scope

Tokens = NDArray[np.int32]
"""Shape (n,)."""
BASE_VOICE = ""


@dataclass(frozen=True, slots=True)
class PrefixKey:
    """What besides the tokens decides a KV cell: `voice` (an adapter's sha256) is on from `boundary`, the base before.

    scopes: whose private content it may hold, from where on; public before the first. layout: where its fact blocks
    stand. block: for a sequence that holds one fact block and nothing else, what it is; no prompt's prefix is like it.
    """

    scopes: tuple[Scope, ...] = ()
    voice: str = BASE_VOICE
    boundary: int = NO_BOUNDARY
    layout: Layout = PLAIN
    block: BlockId | None = None

    def comparable_length(self, other: "PrefixKey") -> int:
        """Up to which position equal tokens mean equal cells."""
        if self.block or other.block:
            return 0
        is_same_voice = (self.voice, self.boundary) == (other.voice, other.boundary)
        alike_in_voice = NO_BOUNDARY if is_same_voice else min(self.boundary, other.boundary)
        return min(alike_in_voice, self._alike_in_scope(other), self.layout.alike(other.layout))

    def scope_at(self, position: int) -> str:
        names = [scope.name for scope in self.scopes if scope.start <= position]
        return names[-1] if names else ""

    def _alike_in_scope(self, other: "PrefixKey") -> int:
        """Up to which position both are of the same scope. It changes only where one of them begins a new one."""
        if self.scopes == other.scopes:
            return NO_BOUNDARY
        starts = sorted({scope.start for scope in (*self.scopes, *other.scopes)})
        return next((start for start in starts if self.scope_at(start) != other.scope_at(start)), NO_BOUNDARY)


@dataclass(frozen=True, slots=True)
class Match:
    """The best prefix found. num_coming > num_ready: a running request is computing more of it right now."""

    source: int | None
    num_ready: int
    num_coming: int


NO_MATCH = Match(None, 0, 0)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an admitted request goes, and what must be done first, in this order.

    forget: sequences to clear. source: copy its first num_shared tokens to `sequence`; where source is `sequence`
    itself, cut it at num_shared instead.
    """

    sequence: int
    forget: tuple[int, ...]
    source: int | None
    num_shared: int


@dataclass(frozen=True, slots=True)
class BlockPlace:
    """The sequence that holds a fact block, or (not ready) in which a request is just computing it."""

    sequence: int
    is_ready: bool


@dataclass(slots=True)
class _Sequence:
    """tokens and cells have room for all that is reserved; the first `length` are computed, `num_known` are known.

    offset: the position of the first one; a fact block stands behind a prefix that is not part of its sequence.
    """

    key: PrefixKey
    tokens: Tokens
    cells: NDArray[np.int32]
    num_known: int
    length: int = 0
    is_live: bool = True
    is_forgotten: bool = False
    last_used: int = 0
    offset: int = 0

    @property
    def num_outstanding(self) -> int:
        """A block's cells are covered by the reservation of the request that it is computed for."""
        return len(self.tokens) - self.length if self.is_live and not self.key.block else 0

    @property
    def own_cells(self) -> NDArray[np.int32]:
        return self.cells[: self.length]


class PrefixStore:
    """Sequences by id, and a count of references for each cell."""

    def __init__(
        self, num_cells: int, num_sequences: int, *, can_share: bool = True, max_idle_cells: int | None = None
    ) -> None:
        """max_idle_cells: how many cells idle sequences may keep, those aside that live ones share. None: no limit."""
        self.num_cells = num_cells
        self._max_idle_cells = num_cells if max_idle_cells is None else max_idle_cells
        self._can_share = can_share
        self._sequences: dict[int, _Sequence] = {}
        self._free_ids = list(range(num_sequences))[::-1]
        self._free_cells = list(range(num_cells))[::-1]
        self._references = np.zeros(num_cells, np.int32)
        self._live_references = np.zeros(num_cells, np.int32)
        self._num_live_cells = 0
        self._clock = 0
        self._num_sequences = num_sequences

    @property
    def num_cells_used(self) -> int:
        return self.num_cells - len(self._free_cells)

    @property
    def sequences(self) -> dict[int, int]:
        """Length by sequence id, of all that hold anything or are live."""
        return {number: sequence.length for number, sequence in self._sequences.items()}

    @property
    def positions(self) -> dict[int, int]:
        """By sequence id, where its next token would stand; 0 where nothing is in it."""
        return {
            number: sequence.offset + sequence.key.layout.num_positions(sequence.length) if sequence.length else 0
            for number, sequence in self._sequences.items()
        }

    def match(self, key: PrefixKey, tokens: Tokens) -> Match:
        """The longest shared prefix. The last prompt token is always left to compute, because its logits are needed."""
        best = NO_MATCH
        for number, sequence in self._sequences.items() if self._can_share else ():
            limit = min(key.comparable_length(sequence.key), len(tokens) - 1)
            if sequence.is_forgotten or limit <= best.num_ready:
                continue
            common = key.layout.usable(_common_length(tokens[:limit], sequence.tokens[: sequence.num_known]))
            ready = key.layout.usable(min(common, sequence.length))
            if ready > best.num_ready:
                best = Match(number, ready, max(common if sequence.is_live else ready, best.num_coming))
            elif sequence.is_live and common > best.num_coming:
                best = Match(best.source, best.num_ready, common)
        return best

    def can_admit(self, match: Match, num_tokens: int) -> bool:
        """Would a sequence of `num_tokens` in the end fit beside what all live ones still may grow to?"""
        if not self._free_ids and not self._idle():
            return False
        already_live = self._count_live(match)
        outstanding = sum(sequence.num_outstanding for sequence in self._sequences.values())
        return self._num_live_cells + outstanding + num_tokens - already_live <= self.num_cells

    def admit(self, key: PrefixKey, prompt: Tokens, num_tokens: int, match: Match) -> Placement:
        """Reserve `num_tokens` cells and a sequence id. Call only where `can_admit`, with the same match."""
        source = None if match.source is None else self._sequences[match.source]
        shared = np.empty(0, np.int32) if source is None else source.own_cells[: match.num_ready].copy()
        if source is not None:
            source.last_used = self._tick()
        number, forget = self._take_id(match.source)
        sequence = _Sequence(key, np.zeros(num_tokens, np.int32), np.zeros(num_tokens, np.int32), len(prompt))
        sequence.tokens[: len(prompt)] = prompt
        self._attach(sequence, shared)
        if number in self._sequences:
            self._detach(self._sequences[number])
        self._sequences[number] = sequence
        return Placement(number, forget, match.source if len(shared) else None, len(shared))

    def find_block(self, key: PrefixKey) -> BlockPlace | None:
        """Where the fact block with this key is; a ready one goes first."""
        found = [
            BlockPlace(number, is_ready=not sequence.is_live)
            for number, sequence in self._sequences.items()
            if sequence.key == key and not sequence.is_forgotten
        ]
        return max(found, key=lambda place: place.is_ready, default=None)

    def begin_block(self, key: PrefixKey, num_tokens: int, num_prefix: int, owner: int | None = None) -> Placement:
        """A live sequence for a fact block behind `num_prefix` tokens, for a request whose reservation covers it.

        owner: the sequence whose prefix it begins with, to be computed there; None: its cells will be restored.
        """
        shared = np.empty(0, np.int32) if owner is None else self._sequences[owner].own_cells[:num_prefix].copy()
        number, forget = self._take_id(owner)
        room = len(shared) + num_tokens
        sequence = _Sequence(key, np.zeros(room, np.int32), np.zeros(room, np.int32), 0)
        sequence.offset = num_prefix - len(shared)
        self._attach(sequence, shared)
        self._sequences[number] = sequence
        return Placement(number, forget, owner, len(shared))

    def detach_prefix(self, number: int, num_prefix: int) -> None:
        """The block is computed; from now on its sequence holds it alone."""
        sequence = self._sequences[number]
        prefix, block = sequence.own_cells[:num_prefix].copy(), sequence.own_cells[num_prefix:].copy()
        self._drop_live(prefix)
        self._drop(prefix)
        sequence.cells, sequence.tokens = block, sequence.tokens[num_prefix : sequence.length].copy()
        sequence.length, sequence.offset = len(block), num_prefix

    def attach_block(self, number: int, block: int) -> None:
        """Let the live sequence go on with the cells of a whole block."""
        sequence, source = self._sequences[number], self._sequences[block]
        if not sequence.is_live or sequence.length + source.length > len(sequence.tokens):
            raise EngineError(f"Sequence {number} has no room for a block of {source.length} tokens.")
        source.last_used = self._tick()
        self._attach(sequence, source.own_cells.copy())

    def is_forgotten(self, number: int) -> bool:
        return self._sequences[number].is_forgotten

    def make_room(self, num_tokens: int) -> list[int]:
        """Free cells for the next batch. Returns the idle sequences that had to go and must be cleared."""
        gone: list[int] = []
        while len(self._free_cells) < num_tokens:
            victims = self._idle()
            if not victims:
                raise EngineError(
                    f"{num_tokens} cells are needed, {len(self._free_cells)} of {self.num_cells} are free."
                )
            gone.append(self._forget(victims[0]))
        return gone

    def extend(self, number: int, tokens: tuple[int, ...]) -> None:
        """These tokens were computed at the end of a live sequence."""
        sequence = self._sequences[number]
        end = sequence.length + len(tokens)
        if not sequence.is_live or end > len(sequence.tokens):
            raise EngineError(f"Sequence {number} grows to {end} tokens, beyond its reservation.")
        sequence.tokens[sequence.length : end] = tokens
        sequence.num_known = max(sequence.num_known, end)
        self._attach(sequence, np.array([self._free_cells.pop() for _ in tokens], np.int32))

    def cut(self, number: int, num_tokens: int) -> None:
        """What stands beyond the first `num_tokens` of a live sequence was guessed wrong. Its reservation stays."""
        sequence = self._sequences[number]
        gone = sequence.own_cells[num_tokens:].copy()
        self._drop_live(gone)
        self._drop(gone)
        sequence.length = sequence.num_known = num_tokens

    def release(self, number: int, *, keep: bool) -> list[int]:
        """A request is over. Its sequence stays as an idle one if `keep`. Returns the sequences to clear."""
        sequence = self._sequences[number]
        if not keep or not self._can_share or sequence.is_forgotten or sequence.length == 0:
            return [self._forget(number), *self._shed()]
        self._set_idle(sequence)
        covered = [other for other in self._idle() if self._is_covered(other, by=number)]
        if any(self._is_covered(number, by=other) for other in self._idle() if other not in covered):
            covered.append(number)
        return [*(self._forget(other) for other in covered), *self._shed()]

    def _shed(self) -> list[int]:
        """The least recently used idle ones, while idle ones keep too many cells."""
        gone: list[int] = []
        for number in self._idle():
            if self._num_idle_cells <= self._max_idle_cells:
                break
            gone.append(self._forget(number))
        return gone

    def shed_blocks(self, max_idle_cells: int, is_saved: Callable[[BlockId], bool]) -> list[int]:
        """Idle fact blocks that are saved elsewhere, while all idle sequences keep more cells than that: first those in
        no other prompt, then prompts that were put together from blocks, the least recently used ones, each with the
        blocks that are in no other one. Returns the sequences to clear.
        """
        gone: list[int] = []
        if self._num_idle_cells <= max_idle_cells:
            return gone
        idle = [(number, self._sequences[number].key) for number in self._idle()]
        blocks = [number for number, key in idle if key.block is not None and is_saved(key.block)]
        prompts = [number for number, key in idle if key.layout != PLAIN]
        for prompt in (None, *prompts):
            if prompt is not None and self._num_idle_cells > max_idle_cells:
                gone.append(self._forget(prompt))
            for number in blocks:
                if number not in gone and self._is_alone(number) and self._num_idle_cells > max_idle_cells:
                    gone.append(self._forget(number))
        return gone

    def forget(self, documents: Documents) -> list[int]:
        """Drop the fact blocks of these documents, and every prompt, since any may hold them. Live sequences are shared
        no more and dropped at their end.
        """
        keys = {number: sequence.key for number, sequence in self._sequences.items()}
        chosen = [number for number, key in keys.items() if key.block is None or key.block.is_of(documents)]
        for number in chosen:
            self._sequences[number].is_forgotten = True
        return [self._forget(number) for number in chosen if not self._sequences[number].is_live]

    def check(self) -> None:
        """Raises EngineError where cells or sequence ids do not add up."""
        references = np.zeros(self.num_cells, np.int32)
        for sequence in self._sequences.values():
            references[sequence.own_cells] += 1
        ids = sorted([*self._free_ids, *self._sequences])
        used = int(np.count_nonzero(references))
        if ids != list(range(self._num_sequences)) or not np.array_equal(references, self._references):
            raise EngineError(f"Sequence ids or cell references do not add up: {len(ids)} ids, {used} cells.")
        if used != self.num_cells_used or len(set(self._free_cells)) != len(self._free_cells):
            raise EngineError(f"{used} cells are referenced, {self.num_cells_used} are counted as used.")
        if self._num_live_cells != int(np.count_nonzero(self._live_references)):
            raise EngineError("The number of cells of live sequences does not add up.")

    def _take_id(self, source: int | None) -> tuple[int, tuple[int, ...]]:
        """A free id, else the least recently used idle one, else the source itself, which is then cut."""
        if self._free_ids:
            return self._free_ids.pop(), ()
        idle = self._idle()
        victim = next((number for number in idle if number != source), None)
        if victim is None:
            return idle[0], ()
        self._forget(victim)
        return self._free_ids.pop(), (victim,)

    @property
    def _num_idle_cells(self) -> int:
        """Those aside that live sequences share."""
        return self.num_cells_used - self._num_live_cells

    def _idle(self) -> list[int]:
        """Least recently used first."""
        idle = [(sequence.last_used, n) for n, sequence in self._sequences.items() if not sequence.is_live]
        return [number for _, number in sorted(idle)]

    def _is_alone(self, number: int) -> bool:
        """Whether no other sequence holds its cells."""
        return bool((self._references[self._sequences[number].own_cells] == 1).all())

    def _count_live(self, match: Match) -> int:
        if match.source is None:
            return 0
        cells = self._sequences[match.source].own_cells[: match.num_ready]
        return int(np.count_nonzero(self._live_references[cells]))

    def _is_covered(self, number: int, *, by: int) -> bool:
        if number == by:
            return False
        small, large = self._sequences[number], self._sequences[by]
        if small.key.comparable_length(large.key) < small.length or small.length > large.length:
            return False
        return bool(np.array_equal(small.tokens[: small.length], large.tokens[: small.length]))

    def _attach(self, sequence: _Sequence, cells: NDArray[np.int32]) -> None:
        end = sequence.length + len(cells)
        sequence.cells[sequence.length : end] = cells
        sequence.length = end
        self._references[cells] += 1
        self._num_live_cells += int(np.count_nonzero(self._live_references[cells] == 0))
        self._live_references[cells] += 1

    def _set_idle(self, sequence: _Sequence) -> None:
        self._drop_live(sequence.own_cells)
        sequence.is_live = False
        sequence.last_used = self._tick()

    def _detach(self, sequence: _Sequence) -> None:
        if sequence.is_live:
            self._set_idle(sequence)
        self._drop(sequence.own_cells)

    def _drop_live(self, cells: NDArray[np.int32]) -> None:
        self._live_references[cells] -= 1
        self._num_live_cells -= int(np.count_nonzero(self._live_references[cells] == 0))

    def _drop(self, cells: NDArray[np.int32]) -> None:
        self._references[cells] -= 1
        self._free_cells.extend(cells[self._references[cells] == 0].tolist())

    def _forget(self, number: int) -> int:
        self._detach(self._sequences.pop(number))
        self._free_ids.append(number)
        return number

    def _tick(self) -> int:
        self._clock += 1
        return self._clock


def _common_length(first: Tokens, second: Tokens) -> int:
    length = min(len(first), len(second))
    if length == 0 or first[0] != second[0]:
        return 0
    differences = np.flatnonzero(first[:length] != second[:length])
    return int(differences[0]) if len(differences) else length
