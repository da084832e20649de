"""The fact cache on disk: one file a block, which survives restarts.

    {"format": 2, "origin": ..., "digest": ..., "scope": ..., "document": ..., "num_bytes": ..., "sha256": ...}\\n
    the cells as the library saved them

A file of another base, library or form, and a damaged one, is deleted and the block computed again: nothing here is
needed, and nothing here is believed before its checksum is right.
"""

import hashlib
import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from server.engine.facts import BlockId, Documents, Ledger

FORMAT = 2
SUFFIX = ".facts"
MAX_HEAD_BYTES = 4_096

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Head:
    format: int
    origin: str
    digest: str
    scope: str
    document: str
    num_bytes: int
    sha256: str

    @property
    def block(self) -> BlockId:
        return BlockId(self.digest, self.scope, self.document)


class FactFolder:
    """Use from one thread; one process owns the folder. A full or broken disk costs the level, never a request."""

    def __init__(self, folder: Path, origin: str, max_bytes: int) -> None:
        """origin: hash of what the files must have been computed with."""
        self._folder = folder
        self._origin = origin
        self.ledger = Ledger(max_bytes)
        self.num_damaged = 0
        try:
            self._take_stock()
        except OSError as error:
            log.warning("The fact cache in %s cannot be read (%s).", folder, error.strerror)

    def load(self, block: BlockId) -> bytes | None:
        """None where it is not there, or not whole any more."""
        if block not in self.ledger:
            return None
        saved = self._read(block)
        if saved is None:
            self.drop(block)
            self.num_damaged += 1
            return None
        self.ledger.use(block)
        with suppress(OSError):
            os.utime(self._path(block))  # the order of use outlives a restart
        return saved

    def keep(self, block: BlockId, saved: bytes) -> None:
        if block in self.ledger or not self.ledger.can_keep(len(saved)):
            return
        for gone in self.ledger.keep(block, len(saved)):
            _remove(self._path(gone))
        try:
            self._write(block, saved)
        except OSError as error:
            log.warning("A fact block could not be written to %s (%s).", self._folder, error.strerror)
            self.drop(block)

    def drop(self, block: BlockId) -> None:
        self.ledger.drop(block)
        _remove(self._path(block))

    def forget(self, documents: Documents) -> None:
        for block in self.ledger.forget(documents):
            _remove(self._path(block))

    def _path(self, block: BlockId) -> Path:
        return self._folder / f"{block.digest}{SUFFIX}"

    def _write(self, block: BlockId, saved: bytes) -> None:
        """Under its name only when it is complete."""
        sha256 = hashlib.sha256(saved).hexdigest()
        head = _Head(FORMAT, self._origin, block.digest, block.scope, block.document, len(saved), sha256)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        unfinished = self._path(block).with_suffix(".new")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(json.dumps(asdict(head)).encode() + b"\n")
            file.write(saved)
        unfinished.replace(self._path(block))

    def _read(self, block: BlockId) -> bytes | None:
        try:
            with self._path(block).open("rb") as file:
                head = _head_of(file.readline(MAX_HEAD_BYTES))
                saved = file.read()
        except OSError:
            return None
        if head is None or (head.origin, head.digest, head.scope) != (self._origin, block.digest, block.scope):
            return None
        is_whole = len(saved) == head.num_bytes and hashlib.sha256(saved).hexdigest() == head.sha256
        return saved if is_whole else None

    def _take_stock(self) -> None:
        """Enter what is there, the longest unused first; delete what cannot be used."""
        for leftover in self._folder.glob("*.new"):
            _remove(leftover)
        for path in sorted(self._folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime):
            head = self._usable_head(path)
            if head is None:
                _remove(path)
                self.num_damaged += 1
                continue
            for gone in self.ledger.keep(head.block, head.num_bytes):
                _remove(self._path(gone))

    def _usable_head(self, path: Path) -> _Head | None:
        head, size = _head_at(path)
        if head is None or head.origin != self._origin or head.digest != path.stem or head.num_bytes != size:
            return None
        return head if self.ledger.can_keep(size) else None


def forget_files(folder: Path, documents: Documents = None) -> None:
    """Delete the blocks of these documents. An engine that runs meanwhile misses them, and must be told to forget its
    own.
    """
    for leftover in folder.glob("*.new"):
        _remove(leftover)
    for path in folder.glob(f"*{SUFFIX}"):
        head = None if documents is None else _head_at(path)[0]
        if head is None or head.block.is_of(documents):
            _remove(path)


def _head_at(path: Path) -> tuple[_Head | None, int]:
    """With the number of bytes behind it; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            line = file.readline(MAX_HEAD_BYTES)
        return _head_of(line), path.stat().st_size - len(line)
    except OSError:
        return None, 0


def _remove(path: Path) -> None:
    """A file that cannot be deleted now is looked at again at the next start."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s could not be deleted (%s).", path, error.strerror)


def _head_of(line: bytes) -> _Head | None:
    try:
        head = _Head(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    types = {"format": int, "num_bytes": int}
    is_typed = all(isinstance(getattr(head, name), types.get(name, str)) for name in _Head.__slots__)
    return head if is_typed and head.format == FORMAT else None
