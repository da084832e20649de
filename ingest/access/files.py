"""Access files on the disk: which folders a source's files lie in, and what those folders say about readers."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ingest.access.statements import ACCESS_FILE, FolderStatement, read_access_file

MAX_BYTES = 64_000


def spelled(path: Path) -> str:
    """A path as text; bytes that are no UTF-8 are spelled out, as in the catalog."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def places_of(path: Path) -> tuple[str, ...]:
    """Where a file lies: its own absolute path and, of a symbolic link, what it leads to, which keeps its rules."""
    if not path.is_symlink():
        return (spelled(path),)
    return spelled(path), spelled(path.resolve())


def folders_of(paths: Iterable[Path]) -> dict[str, Path]:
    """All folders above these files, up to the top of the file system: ingesting a part of a folder must not shed the
    rules that stand above it.
    """
    folders: dict[str, Path] = {}
    for path in paths:
        for start in (path, path.resolve()) if path.is_symlink() else (path,):
            for folder in start.parents:
                if (name := spelled(folder)) in folders:
                    break
                folders[name] = folder
    return folders


def look_into(folder: Path) -> FolderStatement | None:
    """What the folder's access file says, None where there is none."""
    path = folder / ACCESS_FILE
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            return FolderStatement(problem=f"It cannot be read: it is no file of at most {MAX_BYTES:,} bytes.")
        return read_access_file(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return FolderStatement(problem="It is a link to nothing.") if path.is_symlink() else None
    except (OSError, UnicodeDecodeError) as error:
        return FolderStatement(problem=f"It cannot be read: {error}.")
