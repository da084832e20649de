"""The tables of fine-tuning in the data directory's database: files, jobs, what jobs told, and their checkpoints."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from config.database import migrate, open_database, transaction
from config.datadir import DataDirectory

T = TypeVar("T")
COMPONENT = "training"
MIGRATIONS = (
    """
    CREATE TABLE training_file (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        file_id TEXT NOT NULL UNIQUE,
        key_id TEXT NOT NULL,
        purpose TEXT NOT NULL,
        name TEXT NOT NULL,
        num_bytes INTEGER NOT NULL,
        num_rows INTEGER NOT NULL,
        num_private INTEGER NOT NULL,
        num_repeated INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        created_unix_seconds INTEGER NOT NULL,
        expires_unix_seconds INTEGER
    );
    CREATE INDEX training_file_by_key ON training_file (key_id, place);
    CREATE TABLE training_job (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        job_id TEXT NOT NULL UNIQUE,
        key_id TEXT NOT NULL,
        state TEXT NOT NULL,
        plan TEXT NOT NULL,
        created_unix_seconds INTEGER NOT NULL,
        started_unix_seconds INTEGER,
        finished_unix_seconds INTEGER,
        expected_unix_seconds INTEGER,
        base_sha256 TEXT NOT NULL DEFAULT '',
        num_deaths INTEGER NOT NULL DEFAULT 0,
        news_offset INTEGER NOT NULL DEFAULT 0,
        num_tokens INTEGER,
        version TEXT NOT NULL DEFAULT '',
        result_file TEXT NOT NULL DEFAULT '',
        fault TEXT
    );
    CREATE INDEX training_job_by_key ON training_job (key_id, place);
    CREATE INDEX training_job_by_state ON training_job (state, place);
    CREATE TABLE training_event (
        job_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        unix_seconds INTEGER NOT NULL,
        level TEXT NOT NULL,
        message TEXT NOT NULL,
        metrics TEXT,
        PRIMARY KEY (job_id, number)
    );
    CREATE TABLE training_checkpoint (
        job_id TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        step INTEGER NOT NULL,
        training_loss REAL,
        validation_loss REAL,
        is_best INTEGER NOT NULL,
        unix_seconds INTEGER NOT NULL,
        PRIMARY KEY (job_id, epoch)
    )
    """,
)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list. has_more: whether the list goes on behind it."""

    items: tuple[T, ...]
    has_more: bool


def page_of(found: Sequence[T], limit: int) -> Page[T]:
    """found: up to limit + 1 items."""
    return Page(tuple(found[:limit]), len(found) > limit)


class TrainingTables:
    """The one connection of this component. Thread-safe."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.RLock()

    @classmethod
    def open(cls, data: DataDirectory) -> "TrainingTables":
        """Raises DataDirectoryError where a newer release wrote the tables."""
        connection = open_database(data.database)
        migrate(connection, COMPONENT, MIGRATIONS)
        return cls(connection)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def rows(self, statement: str, *values: str | int | None) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Committed at the end of the block, undone if it raises. Reads of this thread inside the block see it."""
        with self._lock, transaction(self._connection):
            yield self._connection
