"""Fact blocks of running requests: attached where they are there, computed once where they are not.

    in the context (cells shared by sequences) -> in host memory -> on disk -> computed by the base, then kept

A block is computed in a sequence of its own, behind a copy of the shared prefix; the prefix is then cut off, the rest
saved, and attached to the request. The sequence stays, idle, for as long as nobody else needs its cells or its id.
"""

import logging
from dataclasses import dataclass, replace

from config.errors import EngineError
from server.engine.backend import FactBackend
from server.engine.factfiles import FactFolder
from server.engine.facts import BlockId, Documents, Ledger, block_id
from server.engine.messages import FactStatus, Scope
from server.engine.prefixes import PrefixKey, PrefixStore
from server.engine.running import BlockWork, Running

log = logging.getLogger(__name__)


class FactShelf:
    """Saved blocks in host memory and, where there is a folder, on disk."""

    def __init__(self, max_bytes: int, folder: FactFolder | None) -> None:
        self._ledger = Ledger(max_bytes)
        self._saved: dict[BlockId, bytes] = {}
        self._folder = folder

    def from_memory(self, block: BlockId) -> bytes | None:
        if block not in self._ledger:
            return None
        self._ledger.use(block)
        return self._saved[block]

    def from_disk(self, block: BlockId) -> bytes | None:
        """Kept in memory from then on, as far as there is room."""
        saved = self._folder.load(block) if self._folder else None
        if saved is not None:
            self._keep_in_memory(block, saved)
        return saved

    def keep(self, block: BlockId, saved: bytes) -> None:
        self._keep_in_memory(block, saved)
        if self._folder:
            self._folder.keep(block, saved)

    def is_in_memory(self, block: BlockId) -> bool:
        return block in self._ledger

    def drop(self, block: BlockId) -> None:
        self._ledger.drop(block)
        self._saved.pop(block, None)
        if self._folder:
            self._folder.drop(block)

    def forget(self, documents: Documents) -> None:
        for block in self._ledger.forget(documents):
            del self._saved[block]
        if self._folder:
            self._folder.forget(documents)

    def check(self) -> None:
        """Raises EngineError where what is kept and what is counted differ."""
        self._ledger.check()
        sizes = sum(len(saved) for saved in self._saved.values())
        if len(self._ledger) != len(self._saved) or sizes != self._ledger.num_bytes:
            raise EngineError(f"{len(self._saved)} blocks of {sizes} bytes are in memory, others are counted.")
        if self._folder:
            self._folder.ledger.check()

    def describe(self, status: FactStatus) -> FactStatus:
        disk = self._folder.ledger if self._folder else Ledger(0)
        return replace(
            status,
            num_memory_blocks=len(self._ledger),
            num_memory_bytes=self._ledger.num_bytes,
            num_disk_blocks=len(disk),
            num_disk_bytes=disk.num_bytes,
            num_damaged=status.num_damaged + (self._folder.num_damaged if self._folder else 0),
        )

    def _keep_in_memory(self, block: BlockId, saved: bytes) -> None:
        if self._ledger.can_keep(len(saved)):
            for gone in self._ledger.keep(block, len(saved)):
                del self._saved[gone]
            self._saved[block] = saved


@dataclass(frozen=True, slots=True)
class _Wanted:
    block: BlockId
    tokens: tuple[int, ...]
    num_prefix: int

    @property
    def key(self) -> PrefixKey:
        scopes = (Scope(0, self.block.scope),) if self.block.scope else ()
        return PrefixKey(scopes, block=self.block)


class BlockReader:
    """Not thread-safe; part of the engine's loop. `origin`: hash of what decides all cells alike."""

    def __init__(self, backend: FactBackend, store: PrefixStore, shelf: FactShelf, origin: bytes) -> None:
        self._backend = backend
        self._store = store
        self._shelf = shelf
        self._origin = origin
        self._counts = FactStatus(layout="blocks")

    def advance(self, running: Running) -> None:
        """Attach what is there, up to the first block that must be computed, by this request or by another one."""
        running.is_waiting = False
        while running.is_at_block and not running.is_waiting:
            self._next(running)

    def settle(self, running: Running) -> None:
        """Where its block is computed now: cut it off its prefix, keep it, attach it."""
        work = running.block
        if work is None or work.num_left:
            return
        self._backend.forget_prefix(work.sequence, work.num_prefix)
        self._store.detach_prefix(work.sequence, work.num_prefix)
        if not self._store.is_forgotten(work.sequence):
            self._save(work)
        self._attach(running, work.sequence, len(work.tokens))
        self._clear(self._store.release(work.sequence, keep=True))
        running.block = None

    def cancel(self, running: Running) -> None:
        if running.block is not None:
            self._clear(self._store.release(running.block.sequence, keep=False))
            running.block = None

    def make_way(self, max_idle_cells: int) -> None:
        """Idle blocks leave the context where they can come back from memory: each step passes over them, for each row,
        and what that costs is soon more than bringing them back.
        """
        self._clear(self._store.shed_blocks(max_idle_cells, self._shelf.is_in_memory))

    def forget(self, documents: Documents) -> None:
        """The sequences that hold blocks are the store's to forget."""
        self._shelf.forget(documents)

    def check(self) -> None:
        self._shelf.check()

    def status(self) -> FactStatus:
        return self._shelf.describe(self._counts)

    def _next(self, running: Running) -> None:
        wanted = self._wanted(running)
        place = self._store.find_block(wanted.key)
        if place is not None and not place.is_ready:
            running.is_waiting = True
        elif place is not None:
            self._reuse(running, wanted, place.sequence)
            self._counts = replace(self._counts, num_context_hits=self._counts.num_context_hits + 1)
        elif (saved := self._shelf.from_memory(wanted.block)) is not None:
            if self._restore(running, wanted, saved):
                self._counts = replace(self._counts, num_memory_hits=self._counts.num_memory_hits + 1)
        elif (saved := self._shelf.from_disk(wanted.block)) is not None:
            if self._restore(running, wanted, saved):
                self._counts = replace(self._counts, num_disk_hits=self._counts.num_disk_hits + 1)
        else:
            self._begin(running, wanted)

    def _wanted(self, running: Running) -> _Wanted:
        job, layout = running.job, running.job.key.layout
        tokens = job.request.tokens
        block = tokens[layout.block_at(running.num_computed)]
        scope = job.key.scope_at(running.num_computed)
        document = job.request.document_at(running.num_computed)
        wanted = block_id(self._origin, scope, tokens[: layout.start], block, document)
        return _Wanted(wanted, block, layout.start)

    def _restore(self, running: Running, wanted: _Wanted, saved: bytes) -> bool:
        """Into a sequence of its own. What cannot be restored is dropped, and is a miss when it is looked for again."""
        num_tokens = len(wanted.tokens)
        placement = self._store.begin_block(wanted.key, num_tokens, wanted.num_prefix)
        self._clear(placement.forget)
        self._clear(self._store.make_room(num_tokens))
        try:
            self._backend.restore(placement.sequence, saved, wanted.num_prefix, num_tokens)
        except EngineError as error:
            log.warning("%s It is computed again.", error)
            self._shelf.drop(wanted.block)
            self._backend.truncate(placement.sequence, 0)
            self._store.release(placement.sequence, keep=False)
            self._counts = replace(self._counts, num_damaged=self._counts.num_damaged + 1)
            return False
        self._store.extend(placement.sequence, wanted.tokens)
        self._reuse(running, wanted, placement.sequence)
        self._clear(self._store.release(placement.sequence, keep=True))
        self._counts = replace(self._counts, num_restored_tokens=self._counts.num_restored_tokens + num_tokens)
        return True

    def _begin(self, running: Running, wanted: _Wanted) -> None:
        placement = self._store.begin_block(wanted.key, len(wanted.tokens), wanted.num_prefix, running.sequence)
        self._clear(placement.forget)
        self._backend.copy_prefix(running.sequence, placement.sequence, wanted.num_prefix)
        running.block = BlockWork(placement.sequence, wanted.block, wanted.tokens, wanted.num_prefix)
        self._counts = replace(self._counts, num_misses=self._counts.num_misses + 1)

    def _reuse(self, running: Running, wanted: _Wanted, sequence: int) -> None:
        num_tokens = len(wanted.tokens)
        self._attach(running, sequence, num_tokens)
        running.num_cached += num_tokens
        self._counts = replace(self._counts, num_saved_tokens=self._counts.num_saved_tokens + num_tokens)

    def _attach(self, running: Running, sequence: int, num_tokens: int) -> None:
        self._store.attach_block(running.sequence, sequence)
        self._backend.share(sequence, running.sequence)
        running.num_computed += num_tokens

    def _save(self, work: BlockWork) -> None:
        try:
            self._shelf.keep(work.block, self._backend.save(work.sequence))
        except EngineError as error:
            log.warning("%s The block stays in the context only.", error)

    def _clear(self, sequences: tuple[int, ...] | list[int]) -> None:
        for sequence in sequences:
            self._backend.truncate(sequence, 0)
