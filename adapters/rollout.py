"""Who gets which version: a canary beside the active one, versions that are retired, and those that wait for a base.

The statements run inside the registry's transactions, so that each step happens whole or not at all.
"""

import hashlib
import json
import sqlite3
import time
from dataclasses import dataclass
from enum import StrEnum

MIGRATION = """
    ALTER TABLE adapter_versions ADD COLUMN tokenizer_sha256 TEXT NOT NULL DEFAULT '';
    ALTER TABLE adapter_versions ADD COLUMN template_sha256 TEXT NOT NULL DEFAULT '';
    CREATE TABLE adapter_canaries (
        brand TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        share REAL NOT NULL,
        keys TEXT NOT NULL,
        since_unix_seconds INTEGER NOT NULL
    );
    CREATE TABLE adapter_retirements (
        brand TEXT NOT NULL,
        version INTEGER NOT NULL,
        unix_seconds INTEGER NOT NULL,
        reason TEXT NOT NULL,
        file TEXT NOT NULL,
        PRIMARY KEY (brand, version)
    );
    CREATE TABLE adapter_stagings (brand TEXT PRIMARY KEY, version INTEGER NOT NULL)
    """


BASE = 0
"""As a version: the base, without an adapter."""


class FileState(StrEnum):
    """LEAVING: deleted as soon as no answer that began before can need it."""

    KEPT = "kept"
    LEAVING = "leaving"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Retirement:
    """Why a version is not used any more."""

    unix_seconds: int
    reason: str
    file: FileState

    @property
    def day(self) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(self.unix_seconds))


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. conversation: equal for all turns of one conversation, as far as that can be told."""

    key_id: str = ""
    key_name: str = ""
    user: str = ""
    conversation: str = ""


@dataclass(frozen=True, slots=True)
class Canary:
    """A version beside the active one: for `share` (0 to 1) of the conversations, and for all of the named keys."""

    brand: str
    version: int
    share: float
    keys: tuple[str, ...]
    since_unix_seconds: int

    @property
    def name(self) -> str:
        return f"{self.brand}@{self.version}"

    def takes(self, caller: Caller) -> bool:
        """The same caller gets the same answer for as long as the canary lasts; a larger share only adds callers."""
        if caller.key_name in self.keys or caller.key_id in self.keys:
            return True
        place = "\0".join((self.name, caller.key_id, caller.user, caller.conversation))
        return int.from_bytes(hashlib.sha256(place.encode()).digest()[:8], "big") < self.share * 2**64


def read_canaries(connection: sqlite3.Connection) -> dict[str, Canary]:
    """By brand."""
    rows = connection.execute("SELECT * FROM adapter_canaries").fetchall()
    return {row["brand"]: Canary(**{**dict(row), "keys": tuple(json.loads(row["keys"]))}) for row in rows}


def put_canary(connection: sqlite3.Connection, canary: Canary) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO adapter_canaries VALUES (?, ?, ?, ?, ?)",
        (canary.brand, canary.version, canary.share, json.dumps(canary.keys), canary.since_unix_seconds),
    )


def end_canary(connection: sqlite3.Connection, brand: str, version: int | None = None) -> None:
    """version: only if it is this one."""
    connection.execute(
        "DELETE FROM adapter_canaries WHERE brand = ?1 AND (?2 IS NULL OR version = ?2)", (brand, version)
    )


def retire(connection: sqlite3.Connection, brand: str, version: int, reason: str, file: FileState) -> None:
    """Also out of the canary and of what waits for a base."""
    connection.execute(
        "INSERT OR REPLACE INTO adapter_retirements VALUES (?, ?, ?, ?, ?)",
        (brand, version, int(time.time()), reason, file),
    )
    end_canary(connection, brand, version)
    connection.execute("DELETE FROM adapter_stagings WHERE brand = ? AND version = ?", (brand, version))


def read_retirements(connection: sqlite3.Connection) -> dict[tuple[str, int], Retirement]:
    rows = connection.execute("SELECT * FROM adapter_retirements").fetchall()
    return {
        (row["brand"], row["version"]): Retirement(row["unix_seconds"], row["reason"], FileState(row["file"]))
        for row in rows
    }


def use(connection: sqlite3.Connection, brand: str, version: int) -> None:
    connection.execute("UPDATE adapter_versions SET is_active = 0 WHERE brand = ?", (brand,))
    connection.execute("UPDATE adapter_versions SET is_active = 1 WHERE brand = ? AND version = ?", (brand, version))


def remember(connection: sqlite3.Connection, brand: str, version: int) -> None:
    """For going back. The first version that a brand ever had followed the base."""
    if connection.execute("SELECT 1 FROM adapter_activations WHERE brand = ?", (brand,)).fetchone() is None:
        _append(connection, brand, BASE)
    _append(connection, brand, version)


def _append(connection: sqlite3.Connection, brand: str, version: int) -> None:
    connection.execute(
        "INSERT INTO adapter_activations (brand, version, unix_seconds) VALUES (?, ?, ?)",
        (brand, version, int(time.time())),
    )
