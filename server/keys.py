"""API keys: 256 random bits each, kept only as SHA-256, with a role and the brands that they may use."""

import hashlib
import hmac
import json
import secrets
import sqlite3
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from config.brands import NAME
from config.database import migrate, open_database
from config.datadir import DataDirectory
from config.errors import BadRequestError, NotFoundError
from ingest.access.reader import ADMIN, Reader

Role = Literal["admin", "reader"]
PREFIX = "hv-"
LOCAL = "local"
"""Name of the key that the first start makes and keeps in the data directory."""

USED_RESOLUTION_SECONDS = 60
MIGRATIONS = (
    """
    CREATE TABLE api_key (
        key_id TEXT PRIMARY KEY,
        lookup TEXT NOT NULL,
        hash TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        role TEXT NOT NULL,
        brands TEXT NOT NULL,
        created_unix_seconds INTEGER NOT NULL,
        used_unix_seconds INTEGER,
        revoked_unix_seconds INTEGER
    );
    CREATE INDEX api_key_lookup ON api_key (lookup)
    """,
    "ALTER TABLE api_key ADD COLUMN group_names TEXT NOT NULL DEFAULT '[]'",
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as listed; the secret itself is never kept. `brands` empty means all, the base included. `groups`: what its
    holder may read beside what is open to everybody.
    """

    id: str
    name: str
    role: Role
    brands: tuple[str, ...]
    created_unix_seconds: int
    used_unix_seconds: int | None = None
    revoked_unix_seconds: int | None = None
    groups: tuple[str, ...] = ()

    @property
    def reader(self) -> Reader:
        return ADMIN if self.is_admin else Reader(frozenset(self.groups))

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"

    @property
    def is_revoked(self) -> bool:
        return self.revoked_unix_seconds is not None

    def may_use(self, brand: str) -> bool:
        return not self.brands or brand in self.brands


@dataclass(frozen=True, slots=True)
class NewKey:
    """The only moment at which the secret exists."""

    key: ApiKey
    text: str


class KeyStore:
    """Keys in the data directory's database. Thread-safe; every check reads the table, so revoking acts at once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    @staticmethod
    def open(data: DataDirectory) -> "KeyStore":
        connection = open_database(data.database)
        migrate(connection, "keys", MIGRATIONS)
        return KeyStore(connection)

    def create(
        self, name: str, role: Role = "reader", brands: tuple[str, ...] = (), groups: tuple[str, ...] = ()
    ) -> NewKey:
        """Make a key. Raises BadRequestError where a live key of that name exists, or a group's name is none."""
        groups = checked_groups(groups)
        if any(key.name == name for key in self.live_keys()):
            raise BadRequestError(f"A key named {name!r} exists already.", "name", hint="Revoke it or choose another.")
        secret = PREFIX + secrets.token_urlsafe(32)
        key = ApiKey(secrets.token_hex(8), name, role, brands, int(time.time()), groups=groups)
        digest = _digest(secret)
        row = (key.id, digest[:8], digest, name, role, json.dumps(brands), key.created_unix_seconds, json.dumps(groups))
        with self._lock:
            self._connection.execute(
                "INSERT INTO api_key (key_id, lookup, hash, name, role, brands, created_unix_seconds, group_names)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
        return NewKey(key, secret)

    def keys(self) -> list[ApiKey]:
        """All keys, revoked ones too, oldest first."""
        with self._lock:
            rows = self._connection.execute("SELECT * FROM api_key ORDER BY created_unix_seconds, key_id").fetchall()
        return [_from_row(row) for row in rows]

    def live_keys(self) -> list[ApiKey]:
        return [key for key in self.keys() if not key.is_revoked]

    def revoke(self, name_or_id: str) -> ApiKey:
        """End a key at once, with its sessions. Raises NotFoundError where no live key has that name or id."""
        key = self.live_key(name_or_id)
        with self._lock:
            self._connection.execute(
                "UPDATE api_key SET revoked_unix_seconds = ? WHERE key_id = ?", (int(time.time()), key.id)
            )
        return key

    def live_key(self, name_or_id: str) -> ApiKey:
        """Raises NotFoundError where no live key has that name or id."""
        for key in self.live_keys():
            if name_or_id in (key.name, key.id):
                return key
        raise NotFoundError(f"No live key is named {name_or_id!r}.", hint="housevoice keys list shows them.")

    def grant(self, name_or_id: str, groups: tuple[str, ...]) -> ApiKey:
        """Add groups, from the next request on. Raises NotFoundError, and BadRequestError for what is no name."""
        key = self.live_key(name_or_id)
        return self._set_groups(key, checked_groups((*key.groups, *groups)))

    def revoke_group(self, name_or_id: str, group: str) -> ApiKey:
        """Take a group away, from the next request on. Raises NotFoundError where the key does not have it."""
        key = self.live_key(name_or_id)
        if group not in key.groups:
            raise NotFoundError(f"The key {key.name!r} is not in the group {group!r}.", hint="housevoice keys list.")
        return self._set_groups(key, tuple(name for name in key.groups if name != group))

    def _set_groups(self, key: ApiKey, groups: tuple[str, ...]) -> ApiKey:
        with self._lock:
            self._connection.execute(
                "UPDATE api_key SET group_names = ? WHERE key_id = ?", (json.dumps(groups), key.id)
            )
        return replace(key, groups=groups)

    def find(self, secret: str) -> ApiKey | None:
        """The live key of that secret. The stored hashes are compared in constant time."""
        digest = _digest(secret)
        with self._lock:
            rows = self._connection.execute(
                "SELECT * FROM api_key WHERE lookup = ? AND revoked_unix_seconds IS NULL", (digest[:8],)
            ).fetchall()
        return next((_from_row(row) for row in rows if hmac.compare_digest(str(row["hash"]), digest)), None)

    def find_by_id(self, key_id: str) -> ApiKey | None:
        """The live key of that id, for sessions."""
        with self._lock:
            row = self._connection.execute(
                "SELECT * FROM api_key WHERE key_id = ? AND revoked_unix_seconds IS NULL", (key_id,)
            ).fetchone()
        return _from_row(row) if row else None

    def mark_used(self, key: ApiKey) -> None:
        """Note the time, at most once a minute. Writes, so call it off the event loop."""
        now = int(time.time())
        with self._lock:
            self._connection.execute("UPDATE api_key SET used_unix_seconds = ? WHERE key_id = ?", (now, key.id))

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def is_use_stale(key: ApiKey) -> bool:
    """Whether the noted time of last use is old enough to be written again."""
    return time.time() - (key.used_unix_seconds or 0) > USED_RESOLUTION_SECONDS


def ensure_local_key(store: KeyStore, path: Path) -> NewKey | None:
    """Make the first key and keep it in `path` (mode 600); None where the file already holds a live key."""
    secret = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    if secret and store.find(secret):
        return None
    if any(key.name == LOCAL for key in store.live_keys()):
        store.revoke(LOCAL)
    new = store.create(LOCAL, "admin")
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(new.text + "\n", encoding="utf-8")
    return new


def has_shared_key(store: KeyStore) -> bool:
    """Whether somebody made a key beside the local one; only then may the server be reached from other machines."""
    return any(key.name != LOCAL for key in store.live_keys())


def checked_groups(groups: tuple[str, ...]) -> tuple[str, ...]:
    """Sorted, each once. Raises BadRequestError for what is no group's name."""
    for group in groups:
        if not NAME.fullmatch(group):
            raise BadRequestError(
                f"{group!r} is no name for a group.",
                "groups",
                hint="Use lower-case letters, digits, '.', '_' and '-'.",
            )
    return tuple(sorted(set(groups)))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _from_row(row: sqlite3.Row) -> ApiKey:
    return ApiKey(
        id=row["key_id"],
        name=row["name"],
        role=row["role"],
        brands=tuple(json.loads(row["brands"])),
        created_unix_seconds=row["created_unix_seconds"],
        used_unix_seconds=row["used_unix_seconds"],
        revoked_unix_seconds=row["revoked_unix_seconds"],
        groups=tuple(json.loads(row["group_names"])),
    )
