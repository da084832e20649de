"""The tables of facts in the data directory's SQLite file: their schema, one writer, a pool of readers."""

import queue
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from config.database import migrate, open_database, transaction

MIGRATIONS = (
    """
    CREATE TABLE documents (
        document_id TEXT PRIMARY KEY,
        knowledge_base TEXT NOT NULL,
        path TEXT NOT NULL,
        root TEXT NOT NULL,
        title TEXT NOT NULL,
        media_type TEXT NOT NULL,
        content_hash TEXT NOT NULL,
        num_chunks INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        modified_nanoseconds INTEGER NOT NULL,
        indexed_unix_seconds INTEGER NOT NULL,
        recipe TEXT NOT NULL,
        UNIQUE (knowledge_base, path)
    );
    CREATE TABLE chunks (
        chunk_id TEXT PRIMARY KEY,
        document_id TEXT NOT NULL REFERENCES documents ON DELETE CASCADE,
        ordinal INTEGER NOT NULL,
        text TEXT NOT NULL,
        heading_path TEXT NOT NULL,
        location TEXT NOT NULL,
        num_tokens INTEGER NOT NULL,
        UNIQUE (document_id, ordinal)
    );
    CREATE TABLE failures (
        knowledge_base TEXT NOT NULL,
        path TEXT NOT NULL,
        root TEXT NOT NULL,
        reason TEXT NOT NULL,
        detail TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        modified_nanoseconds INTEGER NOT NULL,
        recipe TEXT NOT NULL,
        PRIMARY KEY (knowledge_base, path)
    );
    CREATE TABLE doubtful_vectors (chunk_id TEXT PRIMARY KEY);
    CREATE TABLE lexical_rows (
        row_number INTEGER PRIMARY KEY,
        chunk_id TEXT NOT NULL UNIQUE,
        knowledge_base TEXT NOT NULL
    );
    CREATE VIRTUAL TABLE lexical_words USING fts5 (
        title, heading, body, tokenize = 'porter unicode61 remove_diacritics 2'
    );
    """,
    """
    CREATE TABLE document_labels (
        document_id TEXT NOT NULL REFERENCES documents ON DELETE CASCADE,
        kind TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (document_id, kind, value)
    ) WITHOUT ROWID;
    CREATE INDEX labels_by_value ON document_labels (kind, value)
    """,
    """
    CREATE TABLE access_rules (
        knowledge_base TEXT NOT NULL,
        kind TEXT NOT NULL,
        place TEXT NOT NULL,
        pattern TEXT NOT NULL,
        group_names TEXT NOT NULL,
        problem TEXT NOT NULL,
        is_stated INTEGER NOT NULL,
        PRIMARY KEY (knowledge_base, kind, place, pattern)
    );
    CREATE TABLE access_labels (
        label TEXT PRIMARY KEY,
        knowledge_base TEXT NOT NULL,
        places TEXT NOT NULL,
        group_names TEXT
    );
    CREATE TABLE document_access (document_id TEXT PRIMARY KEY, label TEXT NOT NULL);
    CREATE TABLE stale_labels (document_id TEXT PRIMARY KEY);
    ALTER TABLE lexical_rows ADD COLUMN access_label TEXT NOT NULL DEFAULT 'open';
    INSERT INTO document_access SELECT document_id, 'open' FROM documents;
    INSERT INTO stale_labels SELECT document_id FROM documents;
    """,
    """
    CREATE TABLE document_aliases (document_id TEXT PRIMARY KEY, current_id TEXT NOT NULL);
    CREATE INDEX document_aliases_by_current ON document_aliases (current_id);
    CREATE TABLE mislabelled_vectors (chunk_id TEXT PRIMARY KEY);
    CREATE TABLE ingest_runs (
        run_id TEXT PRIMARY KEY,
        knowledge_base TEXT NOT NULL,
        source TEXT NOT NULL,
        state TEXT NOT NULL,
        stage TEXT NOT NULL,
        num_done INTEGER NOT NULL,
        num_total INTEGER NOT NULL,
        path TEXT NOT NULL,
        started_unix_seconds REAL NOT NULL,
        updated_unix_seconds REAL NOT NULL,
        num_failures INTEGER NOT NULL,
        report TEXT NOT NULL,
        failures TEXT NOT NULL,
        error TEXT NOT NULL
    );
    CREATE TABLE quarantine (
        knowledge_base TEXT NOT NULL,
        path TEXT NOT NULL,
        content_hash TEXT NOT NULL,
        note TEXT NOT NULL,
        since_unix_seconds INTEGER NOT NULL,
        PRIMARY KEY (knowledge_base, path)
    );
    """,
    """
    ALTER TABLE document_labels ADD COLUMN rank TEXT NOT NULL DEFAULT '';
    DROP INDEX labels_by_value;
    CREATE INDEX labels_by_value ON document_labels (kind, value, rank)
    """,
)


class FactTables:
    """One connection that writes, guarded by a lock, and as many that read as there are threads reading at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = open_database(path)
        self._lock = threading.RLock()
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        migrate(self._writer, "facts", MIGRATIONS)

    @property
    def path(self) -> Path:
        return self._path

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing. Nested blocks of one thread become part of the outermost one."""
        with self._lock, nullcontext() if self._writer.in_transaction else transaction(self._writer):
            yield self._writer

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A consistent view (WAL) that neither waits for the writer nor disturbs it."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = open_database(self._path)
        try:
            yield connection
        finally:
            self._idle.put(connection)

    def close(self) -> None:
        with self._lock:
            self._writer.close()
        while not self._idle.empty():
            self._idle.get_nowait().close()
