"""A backup of the data directory: one file with everything that cannot be had again, taken while the server runs.

First a copy is staged inside `backups/`: SQLite files by the online backup API, everything else file by file. The
caller keeps writers away meanwhile (`Freeze`), as vectors lie in files of their own. Then, with writers at work again,
the copy is hashed and packed. The archive begins with a manifest: format, release, and every file's size and hash.

Left out: downloaded models, earlier backups, and what is noted in `SKIPPED` as of no use elsewhere. Inside: hashes of
keys, `local.key` and the documents' text, hence mode 600.
"""

import hashlib
import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from config.database import copy_database
from config.datadir import DataDirectory
from config.errors import BadRequestError
from config.files import dated, sync_folder

FORMAT = 1
MANIFEST = "manifest.json"
SKIPPED = ("models", "backups", "owner.lock", "restoring", "factcache", "steptimes.json", "upgrade")
"""In the data directory's root. Names that begin with a dot are left out everywhere."""

DATABASES = (".db", ".sqlite3")
"""Told by name: closing a file that was looked into drops the locks that SQLite holds on it in this process."""

SQLITE_SIDE_FILES = ("-wal", "-shm", "-journal")
COMPRESSION = 3

Freeze = Callable[[], AbstractContextManager[object]]
"""Keeps writers away for the length of the block."""

OnStep = Callable[[str, int, int], None]
"""(what is being done, number of files done, number in all)"""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """`path` is relative to the data directory, with forward slashes; `sha256` in hex."""

    path: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The first member of a backup. `counts` and `generation` are for people."""

    format: int
    release: str
    created_unix_seconds: int
    generation: int
    counts: dict[str, int]
    files: tuple[FileEntry, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the manifest says of the index; `is_kept` decides for paths relative to the data directory."""

    generation: int
    counts: dict[str, int]
    is_kept: Callable[[Path], bool]


def write_backup(
    data: DataDirectory, target: Path | None, freeze: Freeze, facts: Callable[[], Facts], on_step: OnStep
) -> Path:
    """Write the backup and return where it lies: `target`, or a dated file in `backups/`. It appears there complete.

    facts: asked for under the freeze. Raises BadRequestError where the target exists already or cannot be made.
    """
    chosen = target or dated(data.backups, "housevoice", ".tar.gz")
    if chosen.exists():
        raise BadRequestError(f"{chosen} exists already.", "path", hint="Name a new file.")
    data.backups.mkdir(mode=0o700, exist_ok=True)
    staging = data.backups / f".staging-{os.getpid()}-{time.monotonic_ns()}"
    partial = chosen.with_name(f".{chosen.name}.partial")
    try:
        with freeze():
            known = facts()
            _stage(data.root, staging, known.is_kept, on_step)
        manifest = _manifest(staging, known, on_step)
        _pack(staging, manifest, partial, on_step)
        partial.rename(chosen)
        sync_folder(chosen.parent)
    except FileNotFoundError as error:
        raise BadRequestError(
            f"{chosen} cannot be written ({error}).", "path", hint="Make its folder first."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
    return chosen


def _stage(root: Path, staging: Path, is_kept: Callable[[Path], bool], on_step: OnStep) -> None:
    staging.mkdir(mode=0o700)
    kept = [path for path in _files(root) if is_kept(path.relative_to(root))]
    files = sorted(kept, key=lambda path: path.suffix not in DATABASES)  # a row is written after the file that it names
    for number, path in enumerate(files):
        on_step("copy", number, len(files))
        copy = staging / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in DATABASES:
            copy_database(path, copy)
        else:
            shutil.copy2(path, copy)


def _files(root: Path) -> Iterator[Path]:
    """Plain files only: nothing of ours is a link, and what a link leads to belongs to somebody else."""
    for folder, folders, names in os.walk(root):
        skipped = SKIPPED if Path(folder) == root else ()
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in skipped)
        for name in sorted(names):
            path = Path(folder, name)
            is_ours = not name.startswith(".") and name not in skipped and not name.endswith(SQLITE_SIDE_FILES)
            if is_ours and path.is_file() and not path.is_symlink():
                yield path


def _manifest(staging: Path, facts: Facts, on_step: OnStep) -> Manifest:
    paths = [path for path in sorted(staging.rglob("*")) if path.is_file()]
    entries = []
    for number, path in enumerate(paths):
        on_step("hash", number, len(paths))
        entries.append(FileEntry(path.relative_to(staging).as_posix(), path.stat().st_size, hash_of(path)))
    release = metadata.version("housevoice")
    return Manifest(FORMAT, release, int(time.time()), facts.generation, facts.counts, tuple(entries))


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pack(staging: Path, manifest: Manifest, partial: Path, on_step: OnStep) -> None:
    with (
        os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,
        tarfile.open(fileobj=file, mode="w:gz", compresslevel=COMPRESSION, format=tarfile.PAX_FORMAT) as archive,
    ):
        text = json.dumps(asdict(manifest), indent=1).encode()
        head = tarfile.TarInfo(MANIFEST)
        head.size, head.mode, head.mtime = len(text), 0o600, manifest.created_unix_seconds
        archive.addfile(head, io.BytesIO(text))
        for number, entry in enumerate(manifest.files):
            on_step("pack", number, len(manifest.files))
            archive.add(staging / entry.path, arcname=f"data/{entry.path}", filter=_anonymous)
    with partial.open("rb") as written:
        os.fsync(written.fileno())


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Owners are of this machine; whoever restores it owns it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
