"""Which adapter versions exist and which one each brand uses. Versions never change, and numbers are never reused.

A version's file and card are complete on disk before its row is written, so what the registry names is always whole.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from adapters.lora_header import BASE_KEY, PROMPT_KEY
from config.brands import NAME
from config.database import migrate, open_database
from config.datadir import DataDirectory
from config.errors import BadRequestError, NotFoundError
from config.gguf_header import read_header
from config.prompt import PROMPT_VERSION

COMPONENT = "adapters"
MIGRATIONS = (
    """
    CREATE TABLE adapter_versions (
        brand TEXT NOT NULL,
        version INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        base_sha256 TEXT NOT NULL,
        prompt_version INTEGER NOT NULL,
        created_unix_seconds INTEGER NOT NULL,
        card TEXT NOT NULL,
        is_active INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (brand, version),
        UNIQUE (brand, sha256)
    );
    CREATE UNIQUE INDEX one_active_version ON adapter_versions (brand) WHERE is_active
    """,
    """
    CREATE TABLE adapter_activations (
        place INTEGER PRIMARY KEY,
        brand TEXT NOT NULL,
        version INTEGER NOT NULL,
        unix_seconds INTEGER NOT NULL
    );
    INSERT INTO adapter_activations (brand, version, unix_seconds)
        SELECT brand, version, created_unix_seconds FROM adapter_versions WHERE is_active
    """,
)
MAX_DIGITS = 9
BASE = 0
"""As a version: the base, without an adapter."""

ADAPTER_FILE, CARD_FILE = "adapter.gguf", "card.json"

Card = Mapping[str, object]
"""What is to be remembered about how an adapter was made; JSON values. Shown to people, never acted on."""


@dataclass(frozen=True, slots=True)
class AdapterVersion:
    """One immutable version. base_sha256 is "" for a file that does not say what it was trained on."""

    brand: str
    version: int
    path: Path
    sha256: str
    base_sha256: str
    prompt_version: int
    created_unix_seconds: int
    is_active: bool
    card: Card = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        return f"{self.brand}@{self.version}"


class Registry:
    """Thread-safe. One process at a time, the owner of the data directory."""

    def __init__(self, data: DataDirectory, connection: sqlite3.Connection) -> None:
        self._data = data
        self._connection = connection
        self._statement = threading.Lock()
        self._registering = threading.Lock()

    @classmethod
    def open(cls, data: DataDirectory) -> "Registry":
        """Raises DataDirectoryError where a newer release wrote the tables."""
        connection = open_database(data.database)
        migrate(connection, COMPONENT, MIGRATIONS)
        return cls(data, connection)

    def close(self) -> None:
        with self._statement:
            self._connection.close()

    def register(self, brand: str, gguf: Path, card: Card) -> AdapterVersion:
        """Copy a checked file (see `adapters.gguf_check`) in as the brand's next version, not active yet.

        The same file again gives the version that it already is. Raises BadRequestError for a name that is no brand's
        or a file that cannot be read.
        """
        if not NAME.fullmatch(brand):
            raise BadRequestError(f"{brand!r} is no brand name.", "brand")
        with self._registering:
            sha256 = file_sha256(gguf)
            known = self._select("brand = ? AND sha256 = ?", brand, sha256)
            return known[0] if known else self._add(brand, gguf, sha256, card)

    def versions(self, brand: str | None = None) -> list[AdapterVersion]:
        """Oldest first within each brand; all brands for None."""
        return self._select("brand = ?", brand) if brand else self._select("TRUE")

    def get(self, name: str) -> AdapterVersion:
        """`name` is "brand@number". Raises NotFoundError, naming the versions that exist."""
        brand, _, number = name.partition("@")
        is_number = number.isdecimal() and len(number) <= MAX_DIGITS
        found = self._select("brand = ? AND version = ?", brand, int(number)) if is_number else []
        if found:
            return found[0]
        known = ", ".join(version.name for version in self.versions(brand)) or "none"
        raise NotFoundError(f"There is no adapter {name!r}.", "adapter_not_found", f"Known for this brand: {known}.")

    def active(self, brand: str) -> AdapterVersion | None:
        found = self._select("brand = ? AND is_active", brand)
        return found[0] if found else None

    def activate(self, brand: str, version: int) -> AdapterVersion:
        """From now on `active(brand)`; the version that was active stays registered. Raises NotFoundError."""
        chosen = self.get(f"{brand}@{version}")
        with self._transaction() as connection:
            _use(connection, brand, version)
            _remember(connection, brand, version)
        return self.get(chosen.name)

    def deactivate(self, brand: str) -> None:
        """The brand goes back to the base; nothing happens where none is active."""
        if self.active(brand) is None:
            return
        with self._transaction() as connection:
            _use(connection, brand, BASE)
            _remember(connection, brand, BASE)

    def roll_back(self, brand: str) -> AdapterVersion | None:
        """What was in use before what is in use now; None for the base without an adapter. Once more goes further back.

        Raises NotFoundError where nothing else was ever in use.
        """
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT place, version FROM adapter_activations WHERE brand = ? ORDER BY place DESC", (brand,)
            ).fetchall()
            before = next((row for row in rows if row["version"] != rows[0]["version"]), None)
            if before is None:
                raise NotFoundError(
                    f"Nothing but the present version was in use for {brand!r} before.",
                    "adapter_not_found",
                    "housevoice adapter list shows the versions that can be activated.",
                )
            _use(connection, brand, before["version"])
            connection.execute(
                "DELETE FROM adapter_activations WHERE brand = ? AND place > ?", (brand, before["place"])
            )
        return self.active(brand)

    def _add(self, brand: str, gguf: Path, sha256: str, card: Card) -> AdapterVersion:
        version = max((known.version for known in self.versions(brand)), default=0) + 1
        header = read_header(gguf)
        made = AdapterVersion(
            brand=brand,
            version=version,
            path=self._folder(brand, version) / ADAPTER_FILE,
            sha256=sha256,
            base_sha256=header.text(BASE_KEY),
            prompt_version=header.number(PROMPT_KEY, PROMPT_VERSION),
            created_unix_seconds=int(time.time()),
            is_active=False,
            card=dict(card),
        )
        _store(made, gguf)
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO adapter_versions VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
                (
                    brand,
                    version,
                    sha256,
                    made.base_sha256,
                    made.prompt_version,
                    made.created_unix_seconds,
                    json.dumps(made.card),
                ),
            )
        return made

    def _folder(self, brand: str, version: int) -> Path:
        return self._data.adapters / brand / str(version)

    def _select(self, condition: str, *values: str | int) -> list[AdapterVersion]:
        with self._statement:
            rows = self._connection.execute(
                f"SELECT * FROM adapter_versions WHERE {condition} ORDER BY brand, version", values
            ).fetchall()
        return [self._version(row) for row in rows]

    def _version(self, row: sqlite3.Row) -> AdapterVersion:
        return AdapterVersion(
            brand=row["brand"],
            version=row["version"],
            path=self._folder(row["brand"], row["version"]) / ADAPTER_FILE,
            sha256=row["sha256"],
            base_sha256=row["base_sha256"],
            prompt_version=row["prompt_version"],
            created_unix_seconds=row["created_unix_seconds"],
            is_active=bool(row["is_active"]),
            card=json.loads(row["card"]),
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Committed at the end of the block, undone if it raises."""
        with self._statement:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def file_sha256(path: Path) -> str:
    """Raises BadRequestError where the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadRequestError(f"The adapter {path} cannot be read ({error.strerror}).", "path") from error


def _store(version: AdapterVersion, gguf: Path) -> None:
    """The folder appears whole. One without a row is left from a killed registration, and is replaced."""
    folder = version.path.parent
    partial = folder.with_name(f"{folder.name}.partial")
    for leftover in (partial, folder):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    shutil.copyfile(gguf, partial / ADAPTER_FILE)
    (partial / CARD_FILE).write_text(json.dumps(_card_file(version), indent=1), encoding="utf-8")
    _flush(partial / ADAPTER_FILE)
    partial.rename(folder)


def _card_file(version: AdapterVersion) -> dict[str, object]:
    return {
        **version.card,
        "name": version.name,
        "sha256": version.sha256,
        "base_sha256": version.base_sha256,
        "prompt_version": version.prompt_version,
        "created_unix_seconds": version.created_unix_seconds,
    }


def _flush(path: Path) -> None:
    """To the disk, because the row that follows says that the file is there."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _use(connection: sqlite3.Connection, brand: str, version: int) -> None:
    connection.execute("UPDATE adapter_versions SET is_active = 0 WHERE brand = ?", (brand,))
    connection.execute("UPDATE adapter_versions SET is_active = 1 WHERE brand = ? AND version = ?", (brand, version))


def _remember(connection: sqlite3.Connection, brand: str, version: int) -> None:
    """For going back. The first version that a brand ever had followed the base."""
    if connection.execute("SELECT 1 FROM adapter_activations WHERE brand = ?", (brand,)).fetchone() is None:
        _append(connection, brand, BASE)
    _append(connection, brand, version)


def _append(connection: sqlite3.Connection, brand: str, version: int) -> None:
    connection.execute(
        "INSERT INTO adapter_activations (brand, version, unix_seconds) VALUES (?, ?, ?)",
        (brand, version, int(time.time())),
    )
