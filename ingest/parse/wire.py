"""What the parent and a parse worker tell each other, as one JSON object a line.

Never pickle: the worker reads hostile files and is not trusted.
"""

from dataclasses import dataclass

from ingest.documents import ParsedDocument

READY = b"{}\n"
"""A worker's first line, once it is loaded and has limited itself."""


@dataclass(frozen=True, slots=True)
class Order:
    """Read this file. `name` is its name as the owner knows it."""

    path: str
    name: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """`content_hash` (SHA-256, hex) is of the bytes that were really read, so text and hash always agree."""

    content_hash: str
    document: ParsedDocument


@dataclass(frozen=True, slots=True)
class Refused:
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Limits:
    """For one file. `seconds` bounds CPU time and wall-clock time alike.

    ocr_seconds: a limit of its own from the moment a file's first picture is read; 0 where pictures are not read.
    """

    seconds: float
    memory_bytes: int
    max_file_bytes: int
    ocr_seconds: float = 0.0
