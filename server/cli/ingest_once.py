"""One run of ingest from the command line: through the server where there is one, else by ourselves."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from config.errors import HousevoiceError, OverloadedError
from config.settings import Settings
from ingest.documents import Failure, IngestReport
from server.api.schemas.admin import IngestBody
from server.cli.connection import Server, find_server, own_store
from server.cli.console import err, plain
from server.engine.factfiles import forget_files
from server.ingest_order import origin_of

RETRY_SECONDS = 2.0
OnProgress = Callable[[str, int, int, str], None]
"""(stage, number done, number in all, current path)"""


def ingest_once(settings: Settings, body: IngestBody, *, patience_seconds: float = 0.0) -> IngestReport:
    """Shows a progress bar on a terminal. patience_seconds: how long to wait for another run to end."""
    if body.path is not None and not body.path.exists():
        raise HousevoiceError(f"{body.path} does not exist.", "Name a file or a folder.")
    server = find_server(settings)
    with _bar() as bar:
        on_progress = _advance(bar)
        if server is not None:
            return _patiently(lambda: _ingest_remotely(server, body, on_progress), patience_seconds)
        origin = origin_of(body, settings)
        with own_store(settings, "ingest") as store:
            report: IngestReport | None = None
            try:
                report = store.ingest_from(
                    origin,
                    body.knowledge_base,
                    dry_run=body.dry_run,
                    on_progress=lambda p: on_progress(p.stage, p.num_done, p.num_total, p.path),
                )
                return report
            finally:  # an interrupted run may have changed something before
                if not body.dry_run and (report is None or report.is_change):
                    forget_files(settings.data.facts, frozenset(report.outdated) if report else None)


def _patiently(ingest: Callable[[], IngestReport], seconds: float) -> IngestReport:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ingest()
        except OverloadedError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(RETRY_SECONDS)


def _ingest_remotely(server: Server, body: IngestBody, on_progress: OnProgress) -> IngestReport:
    for line in server.post_lines("/api/ingest", body.model_dump(mode="json")):
        if "progress" in line:
            step = line["progress"]
            on_progress(step["stage"], step["num_done"], step["num_total"], step["path"])
        elif "report" in line:
            return _report(line["report"])
        else:
            raise HousevoiceError(str(line.get("error", {}).get("message", line)))
    raise HousevoiceError(
        "The server ended the ingest without a report.", "Look at the server's log, then run it again."
    )


def _report(values: dict[str, Any]) -> IngestReport:
    known = {key: values[key] for key in IngestReport.__dataclass_fields__ if key in values}
    return IngestReport(**{**known, "failures": tuple(Failure(**row) for row in values.get("failures", ()))})


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


def _advance(bar: Progress) -> OnProgress:
    task = bar.add_task("starting", total=None, rate="")

    def advance(stage: str, num_done: int, num_total: int, path: str) -> None:
        speed = bar.tasks[0].speed
        bar.update(
            task,
            description=plain(f"{stage} {Path(path).name[-40:]}"),
            completed=num_done,
            total=num_total,
            rate=f"{speed:.1f}/s" if speed else "",
        )

    return advance
