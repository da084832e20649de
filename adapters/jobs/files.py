"""Uploaded rows and the results of jobs: one file each in the data directory, and a row that says whose it is."""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path

from adapters.jobs.tables import Page, TrainingTables, page_of
from config.errors import BadRequestError, NotFoundError

MAX_LISTED = 10_000
Clock = Callable[[], int]
"""Unix seconds."""


class Purpose(StrEnum):
    FINE_TUNE = "fine-tune"
    RESULTS = "fine-tune-results"


@dataclass(frozen=True, slots=True)
class TrainingFile:
    """key_id: whose it is. num_rows: 0 for results; num_private, num_repeated: see `adapters.jobs.rows.RowReport`.
    expires_unix_seconds: None for never.
    """

    file_id: str
    key_id: str
    purpose: Purpose
    name: str
    num_bytes: int
    num_rows: int
    sha256: str
    created_unix_seconds: int
    expires_unix_seconds: int | None = None
    num_private: int = 0
    num_repeated: int = 0


class FileBook:
    """The files below `folder`. Thread-safe. A file's bytes are complete on disk before its row is written."""

    def __init__(self, tables: TrainingTables, folder: Path, clock: Clock = lambda: int(time.time())) -> None:
        self._tables = tables
        self._folder = folder
        self._clock = clock

    def path(self, file: TrainingFile) -> Path:
        return self._folder / file.file_id

    def add(self, file: TrainingFile, content: Path) -> None:
        """Move `content`, which lies on the same file system, to its place. One of the same id is replaced."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        content.chmod(0o600)
        content.replace(self.path(file))
        values = {field.name: getattr(file, field.name) for field in fields(file)}
        places = ", ".join("?" for _ in values)
        with self._tables.transaction() as connection:
            connection.execute(
                f"INSERT OR REPLACE INTO training_file ({', '.join(values)}) VALUES ({places})", tuple(values.values())
            )

    def get(self, file_id: str, key_id: str, param: str | None = None) -> TrainingFile:
        """Raises NotFoundError alike for a file that does not exist, has expired, or is somebody else's."""
        found = self._select("file_id = ? AND key_id = ?", file_id, key_id)
        if not found:
            raise NotFoundError(f"There is no file {file_id!r}.", hint="GET /v1/files lists yours.", param=param)
        return found[0]

    def page(
        self, key_id: str, *, purpose: str | None = None, after: str | None = None, limit: int, newest_first: bool
    ) -> Page[TrainingFile]:
        """A key's files in order of their creation. Raises BadRequestError where `after` is none of them."""
        condition, values = "key_id = ?", [key_id]
        if purpose is not None:
            condition, values = f"{condition} AND purpose = ?", [*values, purpose]
        if after is not None:
            if not self._select("file_id = ? AND key_id = ?", after, key_id):
                raise BadRequestError(f"There is no file {after!r} to go on after.", "after")
            compare = "<" if newest_first else ">"
            condition += f" AND place {compare} (SELECT place FROM training_file WHERE file_id = ?)"
            values = [*values, after]
        order = f"place {'DESC' if newest_first else 'ASC'} LIMIT {limit + 1:d}"
        return page_of(self._select(condition, *values, order=order), limit)

    def remove(self, file_id: str, key_id: str) -> None:
        """A job that was created with it goes on with a copy of its own. Raises NotFoundError."""
        file = self.get(file_id, key_id)
        with self._tables.transaction() as connection:
            connection.execute("DELETE FROM training_file WHERE file_id = ?", (file_id,))
        self.path(file).unlink(missing_ok=True)

    def drop_expired(self) -> None:
        """With their bytes. They are hidden already from the second on at which they expire."""
        with self._tables.transaction() as connection:
            rows = connection.execute(
                "DELETE FROM training_file WHERE expires_unix_seconds <= ? RETURNING file_id", (self._clock(),)
            ).fetchall()
        for row in rows:
            (self._folder / row["file_id"]).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what a killed process left without a row. Call it before files come in."""
        self.drop_expired()
        known = {row["file_id"] for row in self._tables.rows("SELECT file_id FROM training_file")}
        for path in self._folder.glob("*"):
            if path.name not in known:
                path.unlink(missing_ok=True)

    def _select(self, condition: str, *values: str, order: str = "place") -> list[TrainingFile]:
        rows = self._tables.rows(
            f"SELECT * FROM training_file WHERE ({condition})"
            f" AND (expires_unix_seconds IS NULL OR expires_unix_seconds > {self._clock():d}) ORDER BY {order}",
            *values,
        )
        return [_file(row) for row in rows]


def _file(row: sqlite3.Row) -> TrainingFile:
    values = {field.name: row[field.name] for field in fields(TrainingFile)}
    return TrainingFile(**{**values, "purpose": Purpose(row["purpose"])})
