"""Which files a source holds, and which of them differ from the catalog.

A file is read only if its time or its size has changed.
"""

import fnmatch
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from config.errors import BadRequestError
from ingest.access.statements import ACCESS_FILE
from ingest.catalog import Entry, FailedFile, FileState


@dataclass(frozen=True, slots=True)
class SourceFile:
    """`state.path` is relative to the source, with forward slashes, and part of the document's identity."""

    absolute: Path
    state: FileState


@dataclass(frozen=True, slots=True)
class Source:
    """What one run looks at. `is_whole`: a folder, so that what is missing from it has gone."""

    root: str
    files: tuple[SourceFile, ...]
    is_whole: bool


@dataclass(slots=True)
class Plan:
    """What a run will do. `touched` are unchanged documents whose file has another time, size or root."""

    new: list[SourceFile] = field(default_factory=list)
    changed: list[SourceFile] = field(default_factory=list)
    touched: list[Entry] = field(default_factory=list)
    removed: list[Entry] = field(default_factory=list)
    still_failing: list[FailedFile] = field(default_factory=list)
    forgotten: list[FailedFile] = field(default_factory=list)
    num_unchanged: int = 0

    @property
    def work(self) -> list[SourceFile]:
        return sorted([*self.new, *self.changed], key=lambda file: file.state.path)


def find_source(path: Path, exclude: Sequence[str], known_roots: Sequence[str]) -> Source:
    """A folder with all its files, or one file, which belongs to the known root above it, else to its own folder.

    Symbolic links are followed to files inside the folder only. Raises BadRequestError where there is nothing.
    """
    path = path.expanduser().resolve()
    if path.is_dir():
        return Source(str(path), tuple(_walk(path, exclude)), is_whole=True)
    if not path.is_file():
        raise BadRequestError(f"There is no file or folder {path}.", "source", hint="Check the path.")
    if path.name == ACCESS_FILE:
        raise BadRequestError(f"{path} is no document but says who may read.", "source", hint="Ingest its folder.")
    above = [Path(root) for root in known_roots if path.is_relative_to(root)]
    root = max(above, key=lambda candidate: len(candidate.parts), default=path.parent)
    return Source(str(root), (_source_file(root, path),), is_whole=False)


def _walk(root: Path, exclude: Sequence[str]) -> Iterator[SourceFile]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not _is_excluded(name, exclude))
        for name in sorted(names):
            found = None if _is_excluded(name, exclude) else _found(Path(folder, name), root)
            if found:
                yield found


def _is_excluded(name: str, exclude: Sequence[str]) -> bool:
    return name == ACCESS_FILE or any(fnmatch.fnmatch(name, pattern) for pattern in exclude)


def _found(path: Path, root: Path) -> SourceFile | None:
    """A regular file whose real place is below the root. Pipes, devices, links to elsewhere and what has just gone are
    left out.
    """
    try:
        is_inside = not path.is_symlink() or path.resolve().is_relative_to(root)
        return _source_file(root, path) if is_inside and stat.S_ISREG(path.stat().st_mode) else None
    except OSError:
        return None


def _source_file(root: Path, path: Path) -> SourceFile:
    status = path.stat()
    return SourceFile(path, FileState(str(root), portable(path, root), status.st_size, status.st_mtime_ns))


def portable(path: Path, root: Path) -> str:
    """Names are bytes on this system; those that are no UTF-8 are spelled out, as the catalog holds text only."""
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")


def compare(
    source: Source,
    entries: Sequence[Entry],
    failed: Sequence[FailedFile],
    recipe: str,
    failure_recipe: str,
    hash_of: Callable[[SourceFile], str],
) -> Plan:
    """What differs. `hash_of` is called only for files whose state is new; it returns "" for what cannot be read."""
    plan = Plan()
    by_path = {entry.state.path: entry for entry in entries}
    failed_by_path = {item.state.path: item for item in failed}
    for file in source.files:
        entry, failure = by_path.get(file.state.path), failed_by_path.get(file.state.path)
        if entry is not None:
            _compare_known(plan, file, entry, recipe, hash_of)
        elif failure is not None and failure.recipe == failure_recipe and failure.state == file.state:
            plan.still_failing.append(failure)
        else:
            plan.new.append(file)
    if source.is_whole:
        present = {file.state.path for file in source.files}
        plan.removed = [entry for entry in entries if _has_gone(entry.state, source, present)]
        plan.forgotten = [item for item in failed if _has_gone(item.state, source, present)]
    return plan


def _has_gone(state: FileState, source: Source, present: set[str]) -> bool:
    return state.root == source.root and state.path not in present


def _compare_known(
    plan: Plan, file: SourceFile, entry: Entry, recipe: str, hash_of: Callable[[SourceFile], str]
) -> None:
    if entry.recipe == recipe and entry.state == file.state:
        plan.num_unchanged += 1
    elif entry.recipe == recipe and hash_of(file) == entry.document.content_hash:
        plan.num_unchanged += 1
        plan.touched.append(Entry(entry.document, file.state, recipe))
    else:
        plan.changed.append(file)


def hash_file(file: SourceFile) -> str:
    """SHA-256 in hex, "" where the file cannot be read (parsing it will say why)."""
    try:
        with file.absolute.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""
