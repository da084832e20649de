"""Put a backup back. What is there now is moved aside, not deleted.

The archive is not trusted to be whole or well-meant: only plain files that its manifest names are taken, with the size
and hash that it states, to places below the data directory. Whoever may write a backup can of course write what it
says: keep it as safe as the data directory itself.
"""

import json
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from pydantic import TypeAdapter, ValidationError

from config.backup import FORMAT, MANIFEST, SKIPPED, Manifest, OnStep, hash_of
from config.datadir import DataDirectory
from config.errors import BadRequestError
from config.files import dated, sync_folder, sync_tree

MAX_MANIFEST_BYTES = 50_000_000
PREFIX = "data/"
KEPT = tuple(name for name in SKIPPED if name != "factcache")
"""What a restore leaves where it is."""

MANIFESTS: TypeAdapter[Manifest] = TypeAdapter(Manifest)


def restore_backup(data: DataDirectory, source: Path, on_step: OnStep) -> tuple[Manifest, Path]:
    """Returns the manifest and the folder that now holds what was there before. The caller owns the directory.

    Nothing is changed before everything is unpacked and checked. Killed while it moves files, it leaves a note by which
    every other command refuses until a restore was run again; nothing is lost. Raises BadRequestError.
    """
    staging = data.root / ".restore"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700)
    try:
        with _opened(source) as archive:
            manifest = _read_manifest(source, archive)
            _require_room(data, manifest)
            _unpack(source, archive, manifest, staging, on_step)
        sync_tree(staging)
        aside = _exchange(data, source, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest, aside


def _exchange(data: DataDirectory, source: Path, staging: Path) -> Path:
    aside = dated(data.backups, "before-restore")
    aside.mkdir(parents=True, mode=0o700)
    data.restoring.write_text(f"{source.absolute()}\n", encoding="utf-8")
    sync_folder(data.root)
    for path in sorted(data.root.iterdir()):
        if path.name not in KEPT and path != staging:
            path.rename(aside / path.name)
    for path in sorted(staging.iterdir()):
        path.rename(data.root / path.name)
    sync_folder(data.root)
    data.restoring.unlink()
    return aside


@contextmanager
def _opened(source: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(source, mode="r:gz") as archive:
            yield archive
    except (OSError, EOFError, tarfile.TarError) as error:
        raise BadRequestError(
            f"{source} cannot be read as a backup ({error}).", "path", hint="Take another copy; nothing was changed."
        ) from error


def _read_manifest(source: Path, archive: tarfile.TarFile) -> Manifest:
    first = archive.next()
    if first is None or first.name != MANIFEST or not first.isreg() or first.size > MAX_MANIFEST_BYTES:
        raise _refused(source, "it does not begin with a manifest")
    try:
        values = json.loads(_content(archive, first).read())
        if isinstance(values, dict) and values.get("format") != FORMAT:
            raise _refused(source, f"it has format {values.get('format')!r}, this release reads {FORMAT}")
        manifest = MANIFESTS.validate_python(values)
    except (ValueError, ValidationError) as error:
        raise _refused(source, "its manifest cannot be read") from error
    for entry in manifest.files:
        if not _is_safe(entry.path):
            raise _refused(source, f"it names {entry.path!r}, which is no place for a file of ours")
    return manifest


def _is_safe(path: str) -> bool:
    """Below the data directory, spelled plainly, and not in the place of what a restore leaves alone."""
    parts = PurePosixPath(path).parts
    is_plain = bool(parts) and PurePosixPath(path).as_posix() == path and "\0" not in path and "\\" not in path
    return is_plain and parts[0] not in KEPT and not any(part in ("/", "..") or part.startswith(".") for part in parts)


def _require_room(data: DataDirectory, manifest: Manifest) -> None:
    num_bytes = sum(entry.num_bytes for entry in manifest.files)
    free = shutil.disk_usage(data.root).free
    if num_bytes > free:
        raise BadRequestError(
            f"The backup needs {num_bytes / 1e6:.0f} MB, and {data.root} has {free / 1e6:.0f} MB free.",
            "path",
            hint="Free some space; nothing was changed.",
        )


def _unpack(source: Path, archive: tarfile.TarFile, manifest: Manifest, staging: Path, on_step: OnStep) -> None:
    expected = {PREFIX + entry.path: entry for entry in manifest.files}
    num_files = len(expected)
    for member in archive:
        if member.name == MANIFEST and member.offset == 0:
            continue
        entry = expected.pop(member.name, None)
        if entry is None or not member.isreg() or member.size != entry.num_bytes:
            raise _refused(source, f"its member {member.name!r} is not what its manifest says")
        on_step("unpack", num_files - len(expected), num_files)
        target = staging / entry.path
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        target.touch(mode=0o600)
        with target.open("wb") as file:
            shutil.copyfileobj(_content(archive, member), file)
        if hash_of(target) != entry.sha256:
            raise _refused(source, f"{entry.path} does not have the hash that its manifest says")
    if expected:
        raise _refused(source, f"{len(expected)} files are missing from it, {min(expected)!r} among them")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(member)
    if file is None:
        raise tarfile.TarError(f"{member.name} holds no data")
    return file


def _refused(source: Path, reason: str) -> BadRequestError:
    return BadRequestError(
        f"{source} is not restored: {reason}.", "path", hint="Take another backup; nothing was changed."
    )
