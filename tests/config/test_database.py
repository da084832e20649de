"""One transaction: all or nothing."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.database import open_database, transaction


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = open_database(tmp_path / "file.db")
    opened.execute("CREATE TABLE words (word TEXT)")
    yield opened
    opened.close()


def words(connection: sqlite3.Connection) -> list[str]:
    return [row["word"] for row in connection.execute("SELECT word FROM words ORDER BY word")]


def is_open(connection: sqlite3.Connection) -> bool:
    return connection.in_transaction


def test_what_ends_well_stays(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        connection.execute("INSERT INTO words VALUES ('kept')")
        assert is_open(connection)
    assert not is_open(connection)
    assert words(connection) == ["kept"]


def test_what_raises_is_undone(connection: sqlite3.Connection) -> None:
    def interrupted() -> None:
        with transaction(connection):
            connection.execute("INSERT INTO words VALUES ('lost')")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not is_open(connection)
    assert words(connection) == []
