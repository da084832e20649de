"""The rows that each version was trained and validated on, kept under their hash: what training again starts from."""

import hashlib
import os
import re
import shutil
from pathlib import Path

from config.datadir import DataDirectory
from config.errors import BadRequestError, NotFoundError

SHA256 = re.compile(r"[0-9a-f]{64}")


def keep_rows(data: DataDirectory, path: Path) -> str:
    """Copy a file of example rows in; returns its SHA-256. One that is there already stays as it is.

    Raises BadRequestError where it cannot be read.
    """
    if not path.is_file():
        raise BadRequestError(f"{path} is no file.", "rows")
    try:
        data.examples.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = data.examples / f".{os.getpid()}-{id(path)}.partial"
        shutil.copyfile(path, partial)
    except OSError as error:
        raise BadRequestError(f"The example file {path} cannot be kept ({error.strerror}).", "examples") from error
    with partial.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    partial.replace(_place(data, sha256))
    return sha256


def are_kept(data: DataDirectory, sha256: object) -> bool:
    """Told by name alone; `kept_rows` reads them."""
    return isinstance(sha256, str) and bool(SHA256.fullmatch(sha256)) and _place(data, sha256).is_file()


def kept_rows(data: DataDirectory, sha256: object) -> Path:
    """The file with this hash, as a version's card names it. Raises NotFoundError where it is not kept (any more)."""
    if isinstance(sha256, str) and are_kept(data, sha256):
        path = _place(data, sha256)
        if hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            return path
    raise NotFoundError(
        f"The example rows {str(sha256)[:12]!r} are not kept in {data.examples}.",
        hint="Train from the file itself: housevoice adapter train BRAND EXAMPLES.jsonl",
    )


def _place(data: DataDirectory, sha256: str) -> Path:
    return data.examples / f"{sha256}.jsonl"
