"""What a full or read-only disk looks like in SQLite, Chroma and the system, told as one clear error."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.errors import DataDirectoryError, HousevoiceError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
FULL_TEXTS = ("disk is full", "no space left", "file too large", "quota exceeded")
READ_ONLY_TEXTS = ("readonly database", "read-only file system", "unable to open database file")
BROKEN_TEXTS = ("disk i/o error",)
ROOM_BYTES = 16_000_000


@contextmanager
def clear_disk_errors(root: Path) -> Iterator[None]:
    """Raises DataDirectoryError in place of whatever a library says about a disk that does not take a write.

    root: the folder written to; what the system says about files elsewhere (sources) passes as it is.
    """
    try:
        yield
    except HousevoiceError:
        raise
    except Exception as error:
        told = None if _is_elsewhere(error, root) else _told(error, root)
        if told is None:
            raise
        raise told from error


def require_room(folder: Path, num_bytes: int = ROOM_BYTES) -> None:
    """Raises DataDirectoryError where the folder's disk, quota or the process's limit does not take so much more.

    For Chroma (1.5.9), which waits for ever once a write of its own has failed half-way: it must never come to that.
    The room is really taken for a moment, as free space that is only stated need not be ours.
    """
    with clear_disk_errors(folder):
        largest = max((path.stat().st_size for path in folder.glob("*") if path.is_file()), default=0)
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if limit != resource.RLIM_INFINITY and largest + num_bytes > limit:
            raise OSError(errno.EFBIG, f"files of this process may have {limit} bytes at most")
        _take(folder / ".room", num_bytes)


def _take(probe: Path, num_bytes: int) -> None:
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)


def _is_elsewhere(error: Exception, root: Path) -> bool:
    if not isinstance(error, OSError) or not isinstance(error.filename, str):
        return False
    return not Path(error.filename).is_relative_to(root)


def _told(error: Exception, root: Path) -> DataDirectoryError | None:
    text = str(error).lower()
    number = error.errno if isinstance(error, OSError) else None
    if number in FULL or any(part in text for part in FULL_TEXTS):
        return DataDirectoryError(
            f"The disk of {root} is full ({error}).",
            "Free some space and run the command again: what was finished stays, and it goes on from there.",
        )
    if number in READ_ONLY or any(part in text for part in READ_ONLY_TEXTS):
        return DataDirectoryError(
            f"{root} cannot be written ({error}).",
            "Make it writable for this user and run the command again; nothing is lost.",
        )
    if any(part in text for part in BROKEN_TEXTS):
        return DataDirectoryError(
            f"The disk of {root} refused a write ({error}).",
            "Look at its free space, quota and health, then run the command again and housevoice index verify.",
        )
    return None
