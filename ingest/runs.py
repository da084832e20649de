"""What runs there were: begun, how far, how they ended, and their reports, kept in the database."""

import json
import sqlite3
import time
from dataclasses import asdict, dataclass
from enum import StrEnum

from config.errors import HousevoiceError, NotFoundError
from ingest.documents import Failure, IngestReport, Progress
from ingest.tables import FactTables

KEPT_RUNS = 1000
"""Older ones are forgotten."""

SAVE_EVERY_SECONDS = 1.0
SUMMARY = (
    "run_id, knowledge_base, source, state, stage, num_done, num_total, path, started_unix_seconds,"
    " updated_unix_seconds, num_failures, report, error"
)


class RunState(StrEnum):
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Run:
    """`progress` as it was last saved. `report` once it has finished; in a list of runs it holds no failures, only
    their number. `error` says why it failed.
    """

    run_id: str
    knowledge_base: str
    source: str
    state: RunState
    progress: Progress
    started_unix_seconds: float
    updated_unix_seconds: float
    num_failures: int
    report: IngestReport | None
    error: str


class RunBook:
    """Written by the one run that goes on; read by anybody."""

    def __init__(self, tables: FactTables) -> None:
        self._tables = tables
        self._saved_at = 0.0

    def start(self, run_id: str, knowledge_base: str, source: str) -> None:
        now = time.time()
        with self._tables.transaction() as connection:
            connection.execute(
                "INSERT INTO ingest_runs VALUES (?, ?, ?, ?, 'start', 0, 0, '', ?, ?, 0, '', '[]', '')",
                (run_id, knowledge_base, source, RunState.RUNNING, now, now),
            )
            connection.execute(
                "DELETE FROM ingest_runs WHERE rowid NOT IN"
                f" (SELECT rowid FROM ingest_runs ORDER BY rowid DESC LIMIT {KEPT_RUNS})"
            )
        self._saved_at = 0.0

    def advance(self, run_id: str, progress: Progress) -> None:
        """Saved at most once a second, and where a stage is complete."""
        now = time.monotonic()
        if now - self._saved_at < SAVE_EVERY_SECONDS and progress.num_done < progress.num_total:
            return
        self._saved_at = now
        with self._tables.transaction() as connection:
            connection.execute(
                "UPDATE ingest_runs SET stage = ?, num_done = ?, num_total = ?, path = ?, updated_unix_seconds = ?"
                " WHERE run_id = ?",
                (progress.stage, progress.num_done, progress.num_total, progress.path, time.time(), run_id),
            )

    def finish(self, report: IngestReport) -> None:
        counts = {**report.row, "failures": ()}
        failures = [asdict(failure) for failure in report.failures]
        with self._tables.transaction() as connection:
            connection.execute(
                "UPDATE ingest_runs SET state = ?, updated_unix_seconds = ?, path = '', num_failures = ?, report = ?,"
                " failures = ? WHERE run_id = ?",
                (
                    *(RunState.FINISHED, time.time(), len(failures)),
                    *(json.dumps(counts), json.dumps(failures, ensure_ascii=False), report.run_id),
                ),
            )

    def stop(self, run_id: str, error: BaseException) -> None:
        """It ended by an error, or by somebody's wish (no Exception). What it had indexed stays."""
        state = RunState.FAILED if isinstance(error, Exception) else RunState.INTERRUPTED
        text = str(error) if isinstance(error, HousevoiceError) else type(error).__name__
        with self._tables.transaction() as connection:
            connection.execute(
                "UPDATE ingest_runs SET state = ?, updated_unix_seconds = ?, error = ? WHERE run_id = ?",
                (state, time.time(), text, run_id),
            )

    def mark_interrupted(self) -> None:
        """At the start of a process that owns the data directory: whoever was running is no more."""
        with self._tables.transaction() as connection:
            connection.execute(
                "UPDATE ingest_runs SET state = ? WHERE state = ?", (RunState.INTERRUPTED, RunState.RUNNING)
            )

    def runs(self, limit: int = 20) -> list[Run]:
        """The latest first, without the single failures."""
        with self._tables.reading() as connection:
            rows = connection.execute(
                f"SELECT {SUMMARY} FROM ingest_runs ORDER BY rowid DESC LIMIT ?", (limit,)
            ).fetchall()
        return [_run(row, ()) for row in rows]

    def run(self, run_id: str) -> Run:
        """Raises NotFoundError."""
        with self._tables.reading() as connection:
            row = connection.execute("SELECT * FROM ingest_runs WHERE run_id = ?", (run_id,)).fetchone()
        if row is None:
            raise NotFoundError(f"There is no ingest run {run_id!r}.", hint="housevoice ingest status lists them.")
        return _run(row, tuple(Failure(**failure) for failure in json.loads(row["failures"])))


def _run(row: sqlite3.Row, failures: tuple[Failure, ...]) -> Run:
    report = IngestReport(**{**json.loads(row["report"]), "failures": failures}) if row["report"] else None
    return Run(
        run_id=row["run_id"],
        knowledge_base=row["knowledge_base"],
        source=row["source"],
        state=RunState(row["state"]),
        progress=Progress(row["stage"], row["num_done"], row["num_total"], row["path"]),
        started_unix_seconds=row["started_unix_seconds"],
        updated_unix_seconds=row["updated_unix_seconds"],
        num_failures=row["num_failures"],
        report=report,
        error=row["error"],
    )
