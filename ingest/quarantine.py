"""Documents that an operator took out at once: a poisoned page, a draft that slipped in. They stay out of every run, by
their path and by their content, until somebody lifts it.
"""

import sqlite3
import time
from collections.abc import Collection
from dataclasses import dataclass

from ingest.documents import Failure
from ingest.tables import FactTables

REASON = "quarantined"


@dataclass(frozen=True, slots=True)
class Held:
    """content_hash: SHA-256 of the file as it was indexed, "" where it was not. note: why, in the operator's words."""

    knowledge_base: str
    path: str
    content_hash: str
    note: str
    since_unix_seconds: int

    def failure(self, path: str = "") -> Failure:
        """What a run says of the file, under `path` where it has another one by now."""
        why = f" ({self.note})" if self.note else ""
        lift = f"housevoice quarantine lift {self.path!r} --knowledge-base {self.knowledge_base}"
        return Failure(path or self.path, REASON, f"An operator took it out{why}. To let it in again: {lift}")


class Quarantine:
    """Writes join the transaction that the caller has opened on the tables."""

    def __init__(self, tables: FactTables) -> None:
        self._tables = tables

    def hold(self, knowledge_base: str, path: str, content_hash: str, note: str) -> Held:
        held = Held(knowledge_base, path, content_hash, note, int(time.time()))
        with self._tables.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?, ?)",
                (knowledge_base, path, content_hash, note, held.since_unix_seconds),
            )
        return held

    def lift(self, knowledge_base: str, path: str) -> bool:
        """False where there is nothing to lift. What was refused for it is looked at again by the next run."""
        with self._tables.transaction() as connection:
            gone = connection.execute(
                "DELETE FROM quarantine WHERE knowledge_base = ? AND path = ?", (knowledge_base, path)
            ).rowcount
            connection.execute("DELETE FROM failures WHERE knowledge_base = ? AND reason = ?", (knowledge_base, REASON))
        return bool(gone)

    def held(self, knowledge_base: str | None = None) -> list[Held]:
        """By knowledge base and path."""
        with self._tables.reading() as connection:
            rows = connection.execute(
                "SELECT * FROM quarantine WHERE ?1 IS NULL OR knowledge_base = ?1 ORDER BY knowledge_base, path",
                (knowledge_base,),
            ).fetchall()
        return [_held(row) for row in rows]

    def holder(self, knowledge_base: str, path: str, content_hash: str) -> Held | None:
        """For which a file must stay out."""
        return holder_among(self.held(knowledge_base), path, content_hash)


def holder_among(held: Collection[Held], path: str, content_hash: str = "") -> Held | None:
    return next(
        (item for item in held if item.path == path or (content_hash and item.content_hash == content_hash)), None
    )


def _held(row: sqlite3.Row) -> Held:
    return Held(row["knowledge_base"], row["path"], row["content_hash"], row["note"], row["since_unix_seconds"])
