"""The data directory: where everything lies, and who owns it.

One process owns the directory at a time (an exclusive lock on `owner.lock`). Several writers on one embedded Chroma
directory lose records without any error, so a second owner is refused and told who the first one is.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from config.errors import DataDirectoryError


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds the directory. `url` is empty for a process that is not a server."""

    pid: int
    role: str
    url: str
    since_unix_seconds: int


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """Paths under one root. Nothing is created until `create()`."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "housevoice.db"

    @property
    def chroma(self) -> Path:
        return self.root / "chroma"

    @property
    def index(self) -> Path:
        """The index generations (`ingest.generation`), each with a `database` and a `chroma` of its own."""
        return self.root / "index"

    @property
    def adapters(self) -> Path:
        return self.root / "adapters"

    @property
    def examples(self) -> Path:
        """Example files that adapters were trained on, each under its SHA-256."""
        return self.root / "examples"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def weight_copies(self) -> Path:
        """Models in another type of weights (`server.engine.requantise`). May be deleted at any time."""
        return self.models / "copies"

    @property
    def facts(self) -> Path:
        """Computed sources (`server.engine.factfiles`). May be deleted at any time while no server runs."""
        return self.root / "factcache"

    @property
    def step_times(self) -> Path:
        """How long the engine's steps take on this machine (`server.engine.steptrial`). May be deleted at any time."""
        return self.root / "steptimes.json"

    @property
    def uploads(self) -> Path:
        """Files that came over the API, by knowledge base."""
        return self.root / "uploads"

    @property
    def web(self) -> Path:
        """Fetched pages, by knowledge base."""
        return self.root / "web"

    @property
    def training(self) -> Path:
        """Files and jobs of fine-tuning (`adapters.jobs`)."""
        return self.root / "training"

    @property
    def incoming(self) -> Path:
        """Uploads that are not complete yet; emptied at each start."""
        return self.root / "incoming"

    @property
    def backups(self) -> Path:
        return self.root / "backups"

    @property
    def local_key(self) -> Path:
        return self.root / "local.key"

    @property
    def lock(self) -> Path:
        return self.root / "owner.lock"

    @property
    def restoring(self) -> Path:
        """Stands here while a restore moves files (`config.restore`), and names the backup."""
        return self.root / "restoring"

    def create(self) -> None:
        """Make the root, readable by its owner only. Raises DataDirectoryError where it cannot be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = self.root / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise DataDirectoryError(
                f"The data directory {self.root} cannot be written ({error.strerror}).",
                "Choose another with HOUSEVOICE_DATA_DIR or --data-dir.",
            ) from error

    def owner(self) -> Owner | None:
        """The process that holds the lock now, or None where nobody does."""
        try:
            with self.lock.open("r+", encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return _read_owner(file.read())
        except FileNotFoundError:
            pass
        return None

    @contextmanager
    def own(self, role: str, url: str = "", *, is_restore: bool = False) -> Iterator[None]:
        """Hold the directory for the length of the block. Raises DataDirectoryError at once if somebody else does, or
        if a restore was interrupted (is_restore: this is the one that goes on with it).
        """
        self.create()
        if self.restoring.exists() and not is_restore:
            raise _half_restored(self.restoring)
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _already_owned(self.root, _read_owner(file.read())) from None
            file.truncate(0)
            json.dump(asdict(Owner(os.getpid(), role, url, int(time.time()))), file)
            file.flush()
            yield
            file.truncate(0)


def _read_owner(text: str) -> Owner:
    try:
        return Owner(**json.loads(text))
    except (json.JSONDecodeError, TypeError):
        return Owner(0, "unknown", "", 0)


def _half_restored(note: Path) -> DataDirectoryError:
    source = note.read_text(encoding="utf-8", errors="replace").strip()
    return DataDirectoryError(
        f"A restore of {source} into {note.parent} was interrupted, or runs now.",
        f"Run it again: housevoice index restore {source}. What was there before lies in backups/.",
    )


def _already_owned(root: Path, owner: Owner) -> DataDirectoryError:
    where = f" at {owner.url}" if owner.url else ""
    return DataDirectoryError(
        f"The data directory {root} is in use by housevoice {owner.role}{where} (process {owner.pid}).",
        f"Stop it (kill {owner.pid}) or choose another directory with HOUSEVOICE_DATA_DIR.",
    )
