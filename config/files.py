"""Small files that are either the old or the new, whatever happens meanwhile."""

import os
import time
from pathlib import Path


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace the file's content, on disk when this returns. A reader, or a crash, sees all of it or none of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make renames and removals within the folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Make every file below the folder survive a power cut. Call it before the rename that makes the folder count."""
    for folder, _, names in os.walk(root):
        for name in names:
            descriptor = os.open(Path(folder, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(folder))


def dated(folder: Path, stem: str, suffix: str = "") -> Path:
    """A path in the folder that does not exist yet: "stem-20270131-235959", with a number where that is taken."""
    first = folder / (stem + time.strftime("-%Y%m%d-%H%M%S") + suffix)
    path, number = first, 2
    while path.exists():
        path, number = first.with_name(f"{first.name.removesuffix(suffix)}-{number}{suffix}"), number + 1
    return path
