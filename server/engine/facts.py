"""Which saved fact blocks are kept within a budget of bytes: the ledger of one level of the fact cache. Pure.

What goes first is what was used least recently and least often. Each use of a block counts 1, and counts half as much
after every HALF_LIFE uses of any block; the block with the smallest sum goes (LRFU: Lee et al., IEEE Transactions on
Computers 50(12), 2001). Sums of all blocks shrink alike, so their order changes with a use only, and one number each
will do: the logarithm of the sum, counted back to the beginning of time.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from config.errors import EngineError

Documents = frozenset[str] | None
"""Ids of documents whose text is to be forgotten; None is all of them."""

HALF_LIFE = 256
"""Lookups. About as many as there are in a hundred questions with two or three sources each."""


@dataclass(frozen=True, slots=True)
class BlockId:
    """digest: of everything that decides the cells. scope: who may know them; "" is everybody. See `block_id`.

    document: whose text it is, where that is known; no part of the identity. A block that two documents hold word for
    word goes with the one that was read first, and is computed again for the other.
    """

    digest: str
    scope: str = ""
    document: str = field(default="", compare=False)

    def is_of(self, documents: Documents) -> bool:
        """A block of unknown origin is of every document; one of none goes only where all go."""
        return documents is None or not self.document or self.document in documents


def block_id(origin: bytes, scope: str, prefix: Sequence[int], block: Sequence[int], document: str = "") -> BlockId:
    """origin: the base's hash, the library and the cell types. Equal ids mean equal cells and equal readers."""
    digest = hashlib.sha256()
    for part in (origin, scope.encode(), _bytes_of(prefix), _bytes_of(block)):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return BlockId(digest.hexdigest(), scope, document)


def _bytes_of(tokens: Sequence[int]) -> bytes:
    return np.asarray(tokens, np.int32).tobytes()


@dataclass(slots=True)
class _Kept:
    num_bytes: int
    warmth: float


class Ledger:
    """Sizes and uses of the blocks of one level, never more than `max_bytes` together."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._kept: dict[BlockId, _Kept] = {}
        self._clock = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, block: BlockId) -> bool:
        return block in self._kept

    def use(self, block: BlockId) -> None:
        """One more use of a block that is kept."""
        self._clock += 1
        kept = self._kept[block]
        kept.warmth = np.logaddexp2(kept.warmth, self._now())

    def can_keep(self, num_bytes: int) -> bool:
        return num_bytes <= self.max_bytes

    def keep(self, block: BlockId, num_bytes: int) -> list[BlockId]:
        """Enter a block (one that was kept already is entered anew). Returns those that must go for it."""
        if not self.can_keep(num_bytes):
            raise EngineError(f"A block of {num_bytes} bytes is larger than the whole budget of {self.max_bytes}.")
        self.drop(block)
        gone = []
        while self.num_bytes + num_bytes > self.max_bytes:
            coldest = min(self._kept, key=lambda other: self._kept[other].warmth)
            self.drop(coldest)
            gone.append(coldest)
        self._clock += 1
        self._kept[block] = _Kept(num_bytes, self._now())
        self.num_bytes += num_bytes
        return gone

    def drop(self, block: BlockId) -> None:
        """Nothing where it is not kept."""
        if block in self._kept:
            self.num_bytes -= self._kept.pop(block).num_bytes

    def forget(self, documents: Documents) -> list[BlockId]:
        """Drop the blocks of these documents. Returns them."""
        gone = [block for block in self._kept if block.is_of(documents)]
        for block in gone:
            self.drop(block)
        return gone

    def check(self) -> None:
        """Raises EngineError where sizes do not add up."""
        total = sum(kept.num_bytes for kept in self._kept.values())
        if total != self.num_bytes or total > self.max_bytes:
            raise EngineError(f"Blocks of {total} bytes are kept, {self.num_bytes} of {self.max_bytes} are counted.")
        if not all(math.isfinite(kept.warmth) for kept in self._kept.values()):
            raise EngineError("The uses of a kept block are no number.")

    def _now(self) -> float:
        return self._clock / HALF_LIFE
