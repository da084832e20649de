"""All jobs with their events and checkpoints. What happens to a job and the event that tells it are one transaction."""

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from adapters.jobs.job import ENDED, Checkpoint, Fault, Job, JobEvent, JobState, Plan, Said
from adapters.jobs.tables import Page, TrainingTables, page_of
from adapters.training.recipe import Recipe
from config.errors import BadRequestError, NotFoundError

Clock = Callable[[], int]
"""Unix seconds."""


class JobBook:
    """Thread-safe. `key_id` None is for the operator, who sees all jobs; else only that key's exist."""

    def __init__(self, tables: TrainingTables, clock: Clock = lambda: int(time.time())) -> None:
        self._tables = tables
        self._clock = clock

    def add(self, job: Job, said: Sequence[Said]) -> None:
        """At the end of the queue, with its first events."""
        with self._tables.transaction() as connection:
            connection.execute(
                "INSERT INTO training_job (job_id, key_id, state, plan, created_unix_seconds) VALUES (?, ?, ?, ?, ?)",
                (job.job_id, job.key_id, job.state, _plan_text(job.plan), job.created_unix_seconds),
            )
            for item in said:
                self._append(connection, job.job_id, item, self._clock())

    def get(self, job_id: str, key_id: str | None = None) -> Job:
        """Raises NotFoundError alike for a job that does not exist and somebody else's."""
        found = self._select("job_id = ?1 AND (?2 IS NULL OR key_id = ?2)", job_id, key_id)
        if not found:
            raise NotFoundError(f"There is no fine-tuning job {job_id!r}.", hint="Listing shows those that exist.")
        return found[0]

    def page(
        self,
        key_id: str | None = None,
        *,
        after: str | None = None,
        limit: int = 20,
        metadata: Mapping[str, str] | None = None,
        without_metadata: bool = False,
    ) -> Page[Job]:
        """The latest first; only those that carry all of `metadata`. Raises BadRequestError where `after` is none."""
        before: int | None = None
        if after is not None:
            rows = self._tables.rows(
                "SELECT place FROM training_job WHERE job_id = ?1 AND (?2 IS NULL OR key_id = ?2)", after, key_id
            )
            if not rows:
                raise BadRequestError(f"There is no fine-tuning job {after!r} to go on after.", "after")
            before = rows[0]["place"]
        order = "DESC" if metadata or without_metadata else f"DESC LIMIT {limit + 1:d}"
        found = self._select("(?1 IS NULL OR key_id = ?1) AND (?2 IS NULL OR place < ?2)", key_id, before, order=order)
        wanted = [job for job in found if _carries(job.plan.metadata, metadata, without_metadata)]
        return page_of(wanted, limit)

    def next_queued(self) -> Job | None:
        """The one that has waited longest."""
        found = self._select("state = ?", JobState.QUEUED)
        return found[0] if found else None

    def ids(self) -> set[str]:
        return {row["job_id"] for row in self._tables.rows("SELECT job_id FROM training_job")}

    def in_state(self, state: JobState) -> list[Job]:
        return self._select("state = ?", state)

    def counts(self) -> dict[JobState, int]:
        """How many jobs are in each state; all states are named."""
        rows = self._tables.rows("SELECT state, COUNT(*) AS num FROM training_job GROUP BY state")
        found = {row["state"]: int(row["num"]) for row in rows}
        return {state: found.get(state, 0) for state in JobState}

    def move(
        self,
        job_id: str,
        sources: Sequence[JobState],
        target: JobState,
        said: Said | None = None,
        **changes: str | int | None,
    ) -> bool:
        """From one of `sources` to `target`, with what else changes; False, and nothing happens, from another state."""
        now = self._clock()
        if target in ENDED:
            changes |= {"finished_unix_seconds": now}
        if target is not JobState.RUNNING:
            changes |= {"expected_unix_seconds": None}
        with self._tables.transaction() as connection:
            assignments = ", ".join(f"{name} = ?" for name in ("state", *changes))
            places = ", ".join("?" for _ in sources)
            done = connection.execute(
                f"UPDATE training_job SET {assignments} WHERE job_id = ? AND state IN ({places})",
                (target, *changes.values(), job_id, *sources),
            )
            if done.rowcount and said:
                self._append(connection, job_id, said, now)
            return bool(done.rowcount)

    def tell(
        self,
        job_id: str,
        said: Sequence[tuple[int, Said]] = (),
        checkpoints: Sequence[Checkpoint] = (),
        *,
        news_offset: int | None = None,
        expected_unix_seconds: int | None = None,
    ) -> None:
        """Events with their Unix seconds, checkpoints (one of the same epoch is replaced), and how far the job's news
        have been read. A checkpoint is progress, so deaths before it count no longer.
        """
        with self._tables.transaction() as connection:
            for unix_seconds, item in said:
                self._append(connection, job_id, item, unix_seconds)
            for checkpoint in checkpoints:
                connection.execute(
                    "INSERT OR REPLACE INTO training_checkpoint VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        *(job_id, checkpoint.epoch, checkpoint.step, checkpoint.training_loss),
                        *(checkpoint.validation_loss, checkpoint.is_best, checkpoint.unix_seconds),
                    ),
                )
            connection.execute(
                "UPDATE training_job SET news_offset = IFNULL(?1, news_offset),"
                " expected_unix_seconds = IIF(state = 'running', IFNULL(?2, expected_unix_seconds), NULL),"
                " num_deaths = IIF(?3, 0, num_deaths) WHERE job_id = ?4",
                (news_offset, expected_unix_seconds, bool(checkpoints), job_id),
            )

    def events(self, job_id: str, *, after: int | None = None, limit: int = 20) -> Page[JobEvent]:
        """The latest first; after: the number of an event, which those that follow are older than."""
        rows = self._tables.rows(
            "SELECT * FROM training_event WHERE job_id = ?1 AND (?2 IS NULL OR number < ?2)"
            " ORDER BY number DESC LIMIT ?3",
            *(job_id, after, limit + 1),
        )
        return page_of([_event(row) for row in rows], limit)

    def checkpoints(self, job_id: str, *, after: int | None = None, limit: int = 10) -> Page[Checkpoint]:
        """The latest first; after: the number of an epoch."""
        rows = self._tables.rows(
            "SELECT * FROM training_checkpoint WHERE job_id = ?1 AND (?2 IS NULL OR epoch < ?2)"
            " ORDER BY epoch DESC LIMIT ?3",
            *(job_id, after, limit + 1),
        )
        return page_of([_checkpoint(row) for row in rows], limit)

    def best_epoch(self, job_id: str) -> int | None:
        """The latest that was better than all before it."""
        rows = self._tables.rows(
            "SELECT MAX(epoch) AS best FROM training_checkpoint WHERE job_id = ? AND is_best", job_id
        )
        best: int | None = rows[0]["best"]
        return best

    def _append(self, connection: sqlite3.Connection, job_id: str, said: Said, unix_seconds: int) -> None:
        metrics = None if said.metrics is None else json.dumps(dict(said.metrics))
        connection.execute(
            "INSERT INTO training_event SELECT ?1, IFNULL(MAX(number), 0) + 1, ?2, ?3, ?4, ?5"
            " FROM training_event WHERE job_id = ?1",
            (job_id, unix_seconds, said.level, said.message, metrics),
        )

    def _select(self, condition: str, *values: str | int | None, order: str = "ASC") -> list[Job]:
        rows = self._tables.rows(f"SELECT * FROM training_job WHERE {condition} ORDER BY place {order}", *values)
        return [_job(row) for row in rows]


def _carries(own: Mapping[str, str] | None, wanted: Mapping[str, str] | None, without: bool) -> bool:
    if without:
        return not own
    return all((own or {}).get(key) == value for key, value in (wanted or {}).items())


def _plan_text(plan: Plan) -> str:
    return json.dumps(asdict(plan), ensure_ascii=False)


def _plan(text: str) -> Plan:
    values = json.loads(text)
    recipe = values["recipe"]
    return Plan(**{**values, "recipe": Recipe(**{**recipe, "target_modules": tuple(recipe["target_modules"])})})


def _job(row: sqlite3.Row) -> Job:
    return Job(
        job_id=row["job_id"],
        key_id=row["key_id"],
        state=JobState(row["state"]),
        plan=_plan(row["plan"]),
        created_unix_seconds=row["created_unix_seconds"],
        started_unix_seconds=row["started_unix_seconds"],
        finished_unix_seconds=row["finished_unix_seconds"],
        expected_unix_seconds=row["expected_unix_seconds"],
        base_sha256=row["base_sha256"],
        num_deaths=row["num_deaths"],
        news_offset=row["news_offset"],
        num_tokens=row["num_tokens"],
        version=row["version"],
        result_file=row["result_file"],
        fault=Fault(**json.loads(row["fault"])) if row["fault"] else None,
    )


def _event(row: sqlite3.Row) -> JobEvent:
    metrics = json.loads(row["metrics"]) if row["metrics"] else None
    return JobEvent(row["job_id"], row["number"], row["unix_seconds"], row["level"], row["message"], metrics)


def _checkpoint(row: sqlite3.Row) -> Checkpoint:
    return Checkpoint(
        job_id=row["job_id"],
        epoch=row["epoch"],
        step=row["step"],
        training_loss=row["training_loss"],
        validation_loss=row["validation_loss"],
        is_best=bool(row["is_best"]),
        unix_seconds=row["unix_seconds"],
    )
