"""The SQLite file: one way to open it and to bring a component's tables up to date.

Each component (catalog, adapters, keys) numbers its own migrations; the file remembers how far each has come.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from config.errors import DataDirectoryError


def open_database(path: Path) -> sqlite3.Connection:
    """Open in WAL mode with foreign keys on. The connection may be used from any thread, one at a time."""
    connection = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def copy_database(source: Path, target: Path) -> None:
    """A consistent copy while others read and write the source (SQLite's online backup), readable by its owner only."""
    target.touch(mode=0o600)
    with closing(sqlite3.connect(source)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Committed at the end of the block, undone if it raises. The caller keeps other threads off the connection."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def migrate(connection: sqlite3.Connection, component: str, migrations: Sequence[str]) -> None:
    """Run the migrations that `component` has not seen, each in a transaction of its own.

    migrations: SQL scripts in order; number k is version k + 1. A released script is never edited, only followed.
    Raises DataDirectoryError where the file was written by a newer release.
    """
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_version (component TEXT PRIMARY KEY, version INTEGER NOT NULL)"
    )
    row = connection.execute("SELECT version FROM schema_version WHERE component = ?", (component,)).fetchone()
    version = int(row["version"]) if row else 0
    if version > len(migrations):
        raise DataDirectoryError(
            f"The {component} tables are of version {version}; this release knows only {len(migrations)}.",
            "Start the newer release again, or restore a backup made by this one.",
        )
    for number, script in enumerate(migrations[version:], version + 1):
        connection.executescript(
            f"BEGIN;\n{script}\n;INSERT INTO schema_version VALUES ('{component}', {number})"
            f" ON CONFLICT (component) DO UPDATE SET version = {number};\nCOMMIT;"
        )
