"""Runs of ingest for a person: a table of them, one with its failures, the live one as it goes on."""

import time
from datetime import datetime
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from config.errors import NotFoundError
from config.settings import Settings
from ingest.runs import RunBook, RunState
from ingest.tables import FactTables
from server.api.admin_runs import run_row
from server.cli.connection import find_server
from server.cli.console import CONTROL, out

REFRESH_SECONDS = 1.0
Row = dict[str, Any]


def show_runs(settings: Settings) -> None:
    """The latest runs; on a terminal, until the one that goes on has ended."""
    rows = _runs(settings)
    if not out.is_terminal or not _is_running(rows):
        out.print(_table(rows))
        return
    with Live(_table(rows), console=out, auto_refresh=False) as live:
        while _is_running(rows):
            time.sleep(REFRESH_SECONDS)
            rows = _runs(settings)
            live.update(_table(rows), refresh=True)


def show_run(settings: Settings, run_id: str) -> None:
    """Raises NotFoundError."""
    row = _run(settings, run_id)
    if not out.is_terminal or not _is_running([row]):
        out.print(_details(row))
        return
    with Live(_details(row), console=out, auto_refresh=False) as live:
        while _is_running([row]):
            time.sleep(REFRESH_SECONDS)
            row = _run(settings, run_id)
            live.update(_details(row), refresh=True)


def _runs(settings: Settings) -> list[Row]:
    server = find_server(settings)
    if server is not None:
        return list(server.get("/api/ingest/runs")["runs"])
    return _from_file(settings, None)


def _run(settings: Settings, run_id: str) -> Row:
    server = find_server(settings)
    if server is not None:
        return dict(server.get(f"/api/ingest/runs/{run_id}"))
    return _from_file(settings, run_id)[0]


def _from_file(settings: Settings, run_id: str | None) -> list[Row]:
    """Without a server. SQLite may be read beside a `housevoice ingest` that works on the directory by itself."""
    if not settings.data.database.exists():
        if run_id is not None:
            raise NotFoundError(f"There is no ingest run {run_id!r}.")
        return []
    tables = FactTables(settings.data.database)
    try:
        book = RunBook(tables)
        rows = [run_row(run) for run in ([book.run(run_id)] if run_id is not None else book.runs())]
    finally:
        tables.close()
    if settings.data.owner() is None:
        for row in rows:
            row["state"] = RunState.INTERRUPTED if row["state"] == RunState.RUNNING else row["state"]
    return rows


def _is_running(rows: list[Row]) -> bool:
    return any(row["state"] == RunState.RUNNING for row in rows)


def _table(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("Run", "Started", "Knowledge base", "Source", "State", "What"):
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = (row["run_id"], _time(row), row["knowledge_base"], row["source"], row["state"], _what(row))
        table.add_row(*map(_text, cells))
    return table


def _details(row: Row) -> Group:
    lines = [f"{row['run_id']}  {row['state']}  {row['knowledge_base']}  {row['source']}", _time(row), _what(row)]
    table = Table(title="Not indexed", title_justify="left", box=None, pad_edge=False)
    for column in ("File", "Reason", "Detail"):
        table.add_column(column, overflow="fold")
    failures = (row["report"] or {}).get("failures", ())
    for failure in failures:
        table.add_row(_text(failure["path"]), _text(failure["reason"]), _text(failure["detail"]))
    return Group(*map(_text, lines), *([table] if failures else []))


def _what(row: Row) -> str:
    if row["report"]:
        failed = f", {row['num_failures']} failed" if row["num_failures"] else ""
        return f"{row['summary']}{failed} ({row['report']['seconds']:.1f} s)"
    progress = row["progress"]
    done = f"{progress['stage']} {progress['num_done']}/{progress['num_total']} {progress['path']}".rstrip()
    return row["error"] or done


def _time(row: Row) -> str:
    return f"{datetime.fromtimestamp(row['started_unix_seconds']):%Y-%m-%d %H:%M:%S}"


def _text(value: object) -> Text:
    """Text of documents and sites, without terminal escapes, and never read as markup."""
    return Text(CONTROL.sub("", str(value)))
