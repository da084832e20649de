"""Compressed bytes to plain ones, never more than a limit: a page of a few kilobytes may unfold to gigabytes."""

import zlib
from collections.abc import Iterable

from ingest.web.reasons import FetchError, FetchReason

GZIP_OR_ZLIB = 47
GZIP_START = b"\x1f\x8b"


def inflate(chunks: Iterable[bytes], max_bytes: int) -> bytes:
    """gzip (of several members too) or zlib. Raises FetchError: too_large, or damaged."""
    plain = bytearray()
    inflater = zlib.decompressobj(GZIP_OR_ZLIB)
    try:
        for chunk in chunks:
            rest = chunk
            while rest:
                if inflater.eof:
                    inflater = zlib.decompressobj(GZIP_OR_ZLIB)
                plain += inflater.decompress(rest, max_bytes + 1 - len(plain))
                if len(plain) > max_bytes:
                    raise too_large(max_bytes)
                rest = inflater.unused_data if inflater.eof else b""
    except zlib.error as error:
        raise FetchError(FetchReason.DAMAGED, f"Its compressed form cannot be read ({error}).") from error
    if not inflater.eof:
        raise FetchError(FetchReason.DAMAGED, "Its compressed form ends too early.")
    return bytes(plain)


def join(chunks: Iterable[bytes], max_bytes: int) -> bytes:
    """Raises FetchError: too_large."""
    plain = bytearray()
    for chunk in chunks:
        plain += chunk
        if len(plain) > max_bytes:
            raise too_large(max_bytes)
    return bytes(plain)


def too_large(max_bytes: int) -> FetchError:
    return FetchError(FetchReason.TOO_LARGE, f"It is larger than {max_bytes:,} bytes (web.max_page_bytes).")
