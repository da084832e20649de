"""Which adapter versions exist and which one each brand uses. Versions never change, and numbers are never reused.

A version's file and card are complete on disk before its row is written, so what the registry names is always whole.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from adapters import rollout
from adapters.identity import Identity, differences
from adapters.kept_rows import are_kept, keep_rows
from adapters.lora_header import BASE_KEY, PROMPT_KEY, TEMPLATE_KEY, TOKENIZER_KEY
from adapters.rollout import BASE, Canary, FileState, Retirement
from adapters.version import ADAPTER_FILE, AdapterVersion, Card, file_sha256, retired, store
from config.brands import NAME
from config.database import migrate, open_database, transaction
from config.datadir import DataDirectory
from config.errors import BadRequestError, NotFoundError
from config.gguf_header import GgufHeader, read_header
from config.prompt import PROMPT_VERSION

__all__ = ["BASE", "AdapterVersion", "Card", "Registry", "file_sha256"]

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
    rollout.MIGRATION,
)
MAX_DIGITS = 9


class Registry:
    """Thread-safe. One process at a time, the owner of the data directory.

    served: what is served now; versions that were trained for anything else cannot be put to use. None checks nothing.
    """

    def __init__(self, data: DataDirectory, connection: sqlite3.Connection, served: Identity | None = None) -> None:
        self._data = data
        self._connection = connection
        self.served = served
        self._statement = threading.Lock()
        self._registering = threading.Lock()

    @classmethod
    def open(cls, data: DataDirectory, served: Identity | None = None) -> "Registry":
        """Raises DataDirectoryError where a newer release wrote the tables."""
        connection = open_database(data.database)
        migrate(connection, COMPONENT, MIGRATIONS)
        return cls(data, connection, served)

    def close(self) -> None:
        with self._statement:
            self._connection.close()

    def register(
        self, brand: str, gguf: Path, card: Card, rows: Sequence[Path] = (), fits: Identity | None = None
    ) -> AdapterVersion:
        """Copy a checked file (see `adapters.gguf_check`) in as the brand's next version, not active yet.

        rows: the example files it was trained and validated on, kept for training it again. fits: what it was checked
        against, which is what is served where it is left out; a file that does not say what it was made for belongs to
        that. The same file again gives the version that it already is. Raises BadRequestError for a name that is no
        brand's, a file that cannot be read, or one that was retired.
        """
        if not NAME.fullmatch(brand):
            raise BadRequestError(f"{brand!r} is no brand name.", "brand")
        with self._registering:
            sha256 = file_sha256(gguf)
            known = self._select("brand = ? AND sha256 = ?", brand, sha256)
            if known and known[0].retirement:
                raise retired(known[0], known[0].retirement)
            for path in rows:
                keep_rows(self._data, path)
            return known[0] if known else self._add(brand, gguf, sha256, card, fits or self.served)

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
        return _unknown(name, self.versions(brand))

    def active(self, brand: str) -> AdapterVersion | None:
        found = self._select("brand = ? AND is_active", brand)
        return found[0] if found else None

    def activate(self, brand: str, version: int) -> AdapterVersion:
        """From now on `active(brand)`; the version that was active stays registered. A canary of it has served its
        purpose and ends. Raises NotFoundError, and BadRequestError where it does not fit or is retired.
        """
        with self._transaction() as connection:
            self.check(self._one(connection, brand, version))
            rollout.use(connection, brand, version)
            rollout.remember(connection, brand, version)
            rollout.end_canary(connection, brand, version)
        return self.get(f"{brand}@{version}")

    def deactivate(self, brand: str) -> None:
        """The brand goes back to the base; nothing happens where none is active."""
        if self.active(brand) is None:
            return
        with self._transaction() as connection:
            rollout.use(connection, brand, BASE)
            rollout.remember(connection, brand, BASE)

    def roll_back(self, brand: str) -> AdapterVersion | None:
        """What was in use before what is in use now; None for the base without an adapter. Once more goes further back.

        Retired versions are passed over. Raises NotFoundError where nothing else was ever in use, and BadRequestError
        where it does not fit what is served.
        """
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT place, version, unix_seconds IS NOT NULL AS is_retired FROM"
                " (SELECT place, brand, version FROM adapter_activations)"
                " LEFT JOIN adapter_retirements USING (brand, version) WHERE brand = ? ORDER BY place DESC",
                (brand,),
            ).fetchall()
            usable = (row for row in rows if row["version"] != rows[0]["version"] and not row["is_retired"])
            before = next(usable, None)
            if before is None:
                raise NotFoundError(
                    f"Nothing but the present version was in use for {brand!r} before.",
                    "adapter_not_found",
                    "housevoice adapter list shows the versions that can be activated.",
                )
            if before["version"] != BASE:
                self.check(self._one(connection, brand, before["version"]))
            rollout.use(connection, brand, before["version"])
            rollout.end_canary(connection, brand, before["version"])
            connection.execute(
                "DELETE FROM adapter_activations WHERE brand = ? AND place > ?", (brand, before["place"])
            )
        return self.active(brand)

    def activations(self, brand: str) -> list[int]:
        """Versions in the order in which they came into use, as far back as `roll_back` goes; 0 is the base."""
        with self._statement:
            rows = self._connection.execute(
                "SELECT version FROM adapter_activations WHERE brand = ? ORDER BY place", (brand,)
            ).fetchall()
        return [row["version"] for row in rows]

    def check(self, version: AdapterVersion) -> None:
        """Raises BadRequestError where it is retired, or was trained for something else than what is served."""
        if version.retirement:
            raise retired(version, version.retirement)
        if reason := self.mismatch(version):
            raise BadRequestError(reason, "version", "adapter_mismatch", self.how_to_retrain(version))

    def mismatch(self, version: AdapterVersion) -> str:
        """Why it cannot be used with what is served, in one sentence; empty where it can."""
        found = differences(version.identity, self.served) if self.served else []
        return f"The adapter {version.name} was trained for {' and '.join(found)}." if found else ""

    def how_to_retrain(self, version: AdapterVersion) -> str:
        """The command, for whoever meets a version that does not fit any more."""
        if are_kept(self._data, version.card.get("examples_sha256")):
            return f"Train it again: housevoice adapter upgrade --brand {version.brand}"
        return f"Train it again: housevoice adapter train {version.brand} EXAMPLES.jsonl"

    def canary(self, brand: str) -> Canary | None:
        """One that does not fit what is served counts as none: an experiment never fails anybody's request."""
        found = self.canaries().get(brand)
        return found if found and not self.mismatch(self.get(found.name)) else None

    def canaries(self) -> dict[str, Canary]:
        """By brand, those included that do not fit what is served."""
        with self._statement:
            return rollout.read_canaries(self._connection)

    def start_canary(self, brand: str, version: int, share: float, keys: Sequence[str] = ()) -> Canary:
        """Beside the active version, from the next request on; takes the place of another canary of the brand.

        Raises NotFoundError, and BadRequestError for a version that is active, retired or of another base.
        """
        canary = Canary(brand, version, share, tuple(keys), int(time.time()))
        if not 0 <= share <= 1 or (share == 0 and not keys):
            raise BadRequestError(f"A share of {share} is no canary.", "share", hint="Send 0 to 1, or name keys.")
        with self._transaction() as connection:
            chosen = self._one(connection, brand, version)
            self.check(chosen)
            if chosen.is_active:
                raise BadRequestError(f"{chosen.name} is active: everybody gets it already.", "version")
            rollout.put_canary(connection, canary)
        return canary

    def stop_canary(self, brand: str) -> None:
        """Everybody gets the active version again; nothing happens where there is no canary."""
        with self._transaction() as connection:
            rollout.end_canary(connection, brand)

    def retire(self, brand: str, version: int, reason: str, *, deletes_file: bool = False) -> AdapterVersion:
        """Never used again, whoever asks for it. The file stays until `delete_retired_files`, or for good.

        Raises NotFoundError, and BadRequestError for the active version.
        """
        with self._transaction() as connection:
            chosen = self._one(connection, brand, version)
            if chosen.is_active:
                raise BadRequestError(
                    f"{chosen.name} is active.",
                    "version",
                    hint=f"Activate another first: housevoice adapter activate {brand}@N ({brand}@0 is the base).",
                )
            rollout.retire(connection, brand, version, reason, FileState.LEAVING if deletes_file else FileState.KEPT)
        return self.get(chosen.name)

    def delete_retired_files(self) -> list[str]:
        """Those whose deletion was asked for; returns the versions' names. Nothing that runs may need them any more."""
        leaving = [v for v in self.versions() if v.retirement and v.retirement.file is FileState.LEAVING]
        for version in leaving:
            version.path.unlink(missing_ok=True)
            with self._transaction() as connection:
                connection.execute(
                    "UPDATE adapter_retirements SET file = ? WHERE brand = ? AND version = ?",
                    (FileState.DELETED, version.brand, version.version),
                )
        return [version.name for version in leaving]

    def stage(self, brand: str, version: int) -> None:
        """Activate it when a base that it fits is served: see `activate_staged`. Raises as `retire` does."""
        with self._transaction() as connection:
            chosen = self._one(connection, brand, version)
            if chosen.retirement:
                raise retired(chosen, chosen.retirement)
            connection.execute("INSERT OR REPLACE INTO adapter_stagings VALUES (?, ?)", (brand, version))

    def activate_staged(self) -> list[str]:
        """Activate what waited for the base that is served now; returns the versions' names."""
        with self._statement:
            rows = self._connection.execute("SELECT brand, version FROM adapter_stagings").fetchall()
        fitting = [v for row in rows if not self.mismatch(v := self.get(f"{row['brand']}@{row['version']}"))]
        for version in fitting:
            self.activate(version.brand, version.version)
            with self._transaction() as connection:
                connection.execute("DELETE FROM adapter_stagings WHERE brand = ?", (version.brand,))
        return [version.name for version in fitting]

    def _add(self, brand: str, gguf: Path, sha256: str, card: Card, fits: Identity | None) -> AdapterVersion:
        """The card's parent: what the brand used when this was made, unless the card knows better."""
        version = max((known.version for known in self.versions(brand)), default=0) + 1
        identity = _identity(read_header(gguf), fits)
        parent = self.active(brand)
        made = AdapterVersion(
            brand=brand,
            version=version,
            path=self._folder(brand, version) / ADAPTER_FILE,
            sha256=sha256,
            base_sha256=identity.base_sha256,
            prompt_version=identity.prompt_version,
            created_unix_seconds=int(time.time()),
            is_active=False,
            card={"parent": parent.name if parent else None, **card},
            tokenizer_sha256=identity.tokenizer_sha256,
            template_sha256=identity.template_sha256,
        )
        store(made, gguf)
        row = {
            "brand": brand,
            "version": version,
            "sha256": sha256,
            "base_sha256": made.base_sha256,
            "prompt_version": made.prompt_version,
            "created_unix_seconds": made.created_unix_seconds,
            "card": json.dumps(made.card),
            "tokenizer_sha256": made.tokenizer_sha256,
            "template_sha256": made.template_sha256,
        }
        with self._transaction() as connection:
            connection.execute(
                f"INSERT INTO adapter_versions ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
                tuple(row.values()),
            )
        return made

    def _folder(self, brand: str, version: int) -> Path:
        return self._data.adapters / brand / str(version)

    def _select(self, condition: str, *values: str | int) -> list[AdapterVersion]:
        with self._statement:
            return self._read(self._connection, condition, *values)

    def _one(self, connection: sqlite3.Connection, brand: str, version: int) -> AdapterVersion:
        """Inside a transaction. Raises NotFoundError, naming the versions that exist."""
        found = self._read(connection, "brand = ? AND version = ?", brand, version)
        return found[0] if found else _unknown(f"{brand}@{version}", self._read(connection, "brand = ?", brand))

    def _read(self, connection: sqlite3.Connection, condition: str, *values: str | int) -> list[AdapterVersion]:
        rows = connection.execute(
            "SELECT * FROM adapter_versions LEFT JOIN adapter_retirements USING (brand, version)"
            f" WHERE {condition} ORDER BY brand, version",
            values,
        ).fetchall()
        return [self._version(row) for row in rows]

    def _version(self, row: sqlite3.Row) -> AdapterVersion:
        retired = row["unix_seconds"]
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
            tokenizer_sha256=row["tokenizer_sha256"],
            template_sha256=row["template_sha256"],
            retirement=Retirement(retired, row["reason"], FileState(row["file"])) if retired is not None else None,
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Committed at the end of the block, undone if it raises."""
        with self._statement, transaction(self._connection):
            yield self._connection


def _identity(header: GgufHeader, fits: Identity | None) -> Identity:
    known = fits or Identity("")
    return Identity(
        header.text(BASE_KEY) or known.base_sha256,
        header.text(TOKENIZER_KEY) or known.tokenizer_sha256,
        header.text(TEMPLATE_KEY) or known.template_sha256,
        header.number(PROMPT_KEY, PROMPT_VERSION),
    )


def _unknown(name: str, versions: Sequence[AdapterVersion]) -> NoReturn:
    known = ", ".join(version.name for version in versions) or "none"
    raise NotFoundError(f"There is no adapter {name!r}.", "adapter_not_found", f"Known for this brand: {known}.")
