"""The brands folder, read again when its files change. A broken edit keeps the last good set and is reported."""

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from config.brands import Brand, load_brands
from config.errors import ConfigError

LOOK_AGAIN_SECONDS = 0.5
Stamp = tuple[tuple[str, int, int], ...]
"""(file name, modification time in ns, size), sorted: equal stamps mean an unchanged folder."""


class BrandBook:
    """Brands by name. Thread-safe. Raises ConfigError on opening; afterwards a bad file shows in `error` only."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._stamp = _stamp(directory)
        self._brands = load_brands(directory)
        self._error = ""
        self._looked_at = time.monotonic()

    def brands(self) -> Mapping[str, Brand]:
        with self._lock:
            if time.monotonic() - self._looked_at > LOOK_AGAIN_SECONDS:
                self._look()
            return self._brands

    @property
    def error(self) -> str:
        """Why the newest files are not in use; empty where they are."""
        return self._error

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        stamp = _stamp(self._directory)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._brands = load_brands(self._directory)
            self._error = ""
        except ConfigError as error:
            self._error = str(error)
            logging.getLogger(__name__).warning("The brands stay as they were: %s", error)


def _stamp(directory: Path) -> Stamp:
    found = []
    for path in sorted([*directory.glob("*.toml"), *directory.glob("*.json")]):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        found.append((path.name, status.st_mtime_ns, status.st_size))
    return tuple(found)
