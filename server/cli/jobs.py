"""`housevoice jobs`: the fine-tuning jobs that clients ordered over /v1/fine_tuning/jobs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Table

from adapters.jobs.book import JobBook
from adapters.jobs.folders import JobFolders
from adapters.jobs.job import ENDED, OPEN, JobState, Said
from adapters.jobs.tables import TrainingTables
from config.errors import BadRequestError
from config.settings import Settings
from server.cli.connection import find_server
from server.cli.console import errors_for_people, out, plain, say

REFRESH_SECONDS = 1.0
MAX_LISTED = 100
ID_CHARACTERS = 30
"""An id is copied whole, so it stands on one line."""

Row = dict[str, Any]
JobId = Annotated[str, typer.Argument(help="Id from `housevoice jobs list`.")]
app = typer.Typer(
    no_args_is_help=True,
    help="Fine-tuning jobs: ordered with any OpenAI client (docs/adapters.md), trained one at a time by the server.",
)


@app.command(name="list")
def list_jobs(context: typer.Context) -> None:
    """List the jobs of all keys, the latest first: who ordered them, how far they are, what came out."""
    settings: Settings = context.obj
    with errors_for_people():
        rows = _rows(settings)
    table = Table(box=None, pad_edge=False)
    for column in ("Job", "Brand", "State", "Created", "By", "Rows", "What"):
        width = {"Job": ID_CHARACTERS, "State": len(JobState.SUCCEEDED)}.get(column)
        table.add_column(column, overflow="fold", min_width=width)
    for row in rows:
        num_rows = row["housevoice"]["num_rows"]
        cells = (row["id"], row["model"], row["housevoice"]["state"], _time(row["created_at"]), row["owner"])
        table.add_row(*map(plain, (*cells, num_rows, _outcome(row))))
    out.print(table)


@app.command()
def show(
    context: typer.Context,
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing until the job has ended.")] = False,
) -> None:
    """Show one job: what was ordered, how far it is, and what it told. Exit code 1 where it failed."""
    settings: Settings = context.obj
    with errors_for_people():
        row = _row(settings, job_id)
        for line in _head(row):
            say(line)
        num_shown = _print_events(row, 0)
        while follow and row["housevoice"]["state"] not in ENDED:
            time.sleep(REFRESH_SECONDS)
            row = _row(settings, job_id)
            num_shown = _print_events(row, num_shown)
    if row["status"] == JobState.FAILED:
        raise typer.Exit(1)


@app.command()
def cancel(context: typer.Context, job_id: JobId) -> None:
    """End a job for good. The brand's versions stay as they are."""
    settings: Settings = context.obj
    with errors_for_people():
        server = find_server(settings)
        if server is not None:
            server.post(f"/api/jobs/{quote(job_id, safe='')}/cancel", {})
        else:
            with _own_book(settings) as book:
                job = book.get(job_id)
                if not book.move(job_id, OPEN, JobState.CANCELLED, Said("Cancelled.")):
                    raise BadRequestError(f"The job {job_id} is {job.state} and cannot be cancelled.")
                JobFolders(settings.data.training / "jobs").clear(job_id)
    say(f"{plain(job_id)} is cancelled.")


@app.command()
def pause(context: typer.Context, job_id: JobId) -> None:
    """Stop a job until it is resumed; what it has learned so far is kept, and the next one trains meanwhile."""
    _change(context.obj, job_id, "pause", (JobState.QUEUED, JobState.RUNNING), JobState.PAUSED)
    say(f"{plain(job_id)} is paused. Go on with: housevoice jobs resume {plain(job_id)}")


@app.command()
def resume(context: typer.Context, job_id: JobId) -> None:
    """Put a paused job back into the queue."""
    _change(context.obj, job_id, "resume", (JobState.PAUSED,), JobState.QUEUED)
    say(f"{plain(job_id)} waits for its turn.")


def _change(settings: Settings, job_id: str, action: str, sources: tuple[JobState, ...], target: JobState) -> None:
    with errors_for_people():
        server = find_server(settings)
        if server is not None:
            server.post(f"/api/jobs/{quote(job_id, safe='')}/{action}", {})
            return
        with _own_book(settings) as book:
            job = book.get(job_id)
            if not book.move(job_id, sources, target, Said(f"{action.capitalize()}d at the command line.")):
                raise BadRequestError(f"The job {job_id} is {job.state}; {action} does not apply.")


def _rows(settings: Settings) -> list[Row]:
    server = find_server(settings)
    if server is not None:
        return list(server.get("/api/jobs", limit=MAX_LISTED)["data"])
    if not settings.data.database.exists():
        return []
    from server.api.admin_jobs import owned_row

    with _read_book(settings) as (book, names):
        return [owned_row(job, names) for job in book.page(limit=MAX_LISTED).items]


def _row(settings: Settings, job_id: str) -> Row:
    """Raises NotFoundError."""
    server = find_server(settings)
    if server is not None:
        return dict(server.get(f"/api/jobs/{quote(job_id, safe='')}"))
    from server.api.admin_jobs import whole_row

    with _read_book(settings) as (book, names):
        return whole_row(book.get(job_id), book, names)


@contextmanager
def _read_book(settings: Settings) -> Iterator[tuple[JobBook, dict[str, str]]]:
    """Without a server. SQLite may be read beside whoever owns the directory."""
    from server.api.admin_jobs import key_names
    from server.keys import KeyStore

    settings.data.create()
    tables, keys = TrainingTables.open(settings.data), KeyStore.open(settings.data)
    try:
        yield JobBook(tables), key_names(keys)
    finally:
        tables.close()
        keys.close()


@contextmanager
def _own_book(settings: Settings) -> Iterator[JobBook]:
    with settings.data.own("jobs"):
        tables = TrainingTables.open(settings.data)
        try:
            yield JobBook(tables)
        finally:
            tables.close()


def _head(row: Row) -> Iterator[str]:
    extra, chosen = row["housevoice"], row["hyperparameters"]
    yield f"[bold]{plain(row['id'])}[/]  {plain(extra['state'])}  {plain(row['model'])}  {plain(_outcome(row))}"
    suffix = f", suffix {plain(extra['suffix'])}" if extra["suffix"] else ""
    yield f"created {_time(row['created_at'])} by {plain(row['owner'])}{suffix}"
    yield (
        f"{extra['num_rows']} rows, {extra['num_validation_rows']} validation rows, {chosen['n_epochs']} epochs,"
        f" batch size {chosen['batch_size']}, learning rate x{chosen['learning_rate_multiplier']:g}, seed {row['seed']}"
    )


def _print_events(row: Row, num_shown: int) -> int:
    """Those that were not shown yet; of the steps before a first look, only the last."""
    events = list(reversed(row["events"]))
    fresh = events[num_shown:]
    for place, event in enumerate(fresh):
        is_old_step = _is_step(event) and any(_is_step(later) for later in fresh[place + 1 :])
        if not is_old_step or num_shown:
            colour = {"error": "red", "warn": "yellow"}.get(event["level"], "")
            text = plain(event["message"])
            say(f"{_time(event['created_at'])}  {f'[{colour}]{text}[/]' if colour else text}")
    return len(events)


def _is_step(event: Row) -> bool:
    return event["type"] == "metrics" and "epoch" not in event["data"]


def _outcome(row: Row) -> str:
    if row["fine_tuned_model"]:
        return str(row["fine_tuned_model"])
    if row["error"]:
        return str(row["error"]["message"]).partition("\n")[0]
    return f"until about {_time(row['estimated_finish'])}" if row["estimated_finish"] else ""


def _time(unix_seconds: int) -> str:
    return f"{datetime.fromtimestamp(unix_seconds):%Y-%m-%d %H:%M:%S}"
