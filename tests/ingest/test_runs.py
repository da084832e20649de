"""What is kept of runs."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from config.errors import NotFoundError
from ingest.documents import Progress
from ingest.patterns import Selection
from ingest.runs import RunState
from ingest.store import FactStore

OpenStore = Callable[[], FactStore]


def test_a_finished_run_and_its_report_last(open_store: OpenStore, folder: Path) -> None:
    (folder / "empty.md").write_bytes(b"")
    report = open_store().ingest(folder, "kb")
    store = open_store()
    listed = store.runs()
    assert [(run.run_id, run.state, run.source, run.num_failures) for run in listed] == [
        (report.run_id, RunState.FINISHED, str(folder), 1)
    ]
    assert listed[0].report
    assert (listed[0].report.summary, listed[0].report.failures) == (report.summary, ())
    assert store.run(report.run_id).report == report
    with pytest.raises(NotFoundError, match="nosuchrun"):
        store.run("nosuchrun")


def test_a_run_can_be_watched_from_outside(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    seen: list[tuple[RunState, str, int]] = []

    def look(progress: Progress) -> None:
        run = store.runs()[0]
        seen.append((run.state, run.progress.stage, run.progress.num_total))

    store.ingest(folder, "kb", on_progress=look)
    assert (RunState.RUNNING, "compare", 3) in seen
    assert seen[-1] == (RunState.RUNNING, "index", 3)


def test_how_runs_end_badly(open_store: OpenStore, folder: Path) -> None:
    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    def fail(progress: Progress) -> None:
        raise ValueError("a bug")

    store = open_store()
    with pytest.raises(KeyboardInterrupt):
        store.ingest(folder, "kb", on_progress=interrupt)
    with pytest.raises(ValueError, match="bug"):
        store.ingest(folder, "kb", on_progress=fail)
    with pytest.raises(Exception, match="nowhere"):
        store.ingest(folder / "nowhere", "kb")
    last, second, first = store.runs()
    assert (first.state, first.report) == (RunState.INTERRUPTED, None)
    assert (second.state, second.error) == (RunState.FAILED, "ValueError")
    assert last.state is RunState.FAILED
    assert "nowhere" in last.error


def test_a_killed_run_is_shown_as_interrupted(open_store: OpenStore, folder: Path, tmp_path: Path) -> None:
    """As a killed process leaves it: still "running" in the database."""
    report = open_store().ingest(folder, "kb")
    open_store().close()
    with sqlite3.connect(tmp_path / "data" / "housevoice.db") as connection:
        connection.execute("UPDATE ingest_runs SET state = 'running', report = ''")
    connection.close()
    store = open_store()
    (tmp_path / "data" / "incoming").mkdir()
    (tmp_path / "data" / "incoming" / "half").write_bytes(b"half a file")
    store.recover()
    assert store.run(report.run_id).state is RunState.INTERRUPTED
    assert not (tmp_path / "data" / "incoming").exists()


def test_a_dry_run_leaves_no_trace(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    store.ingest(folder, "kb", dry_run=True)
    assert store.runs() == []


def test_what_a_selection_leaves_out_goes(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    store.ingest(folder, "kb")
    assert store.ingest(folder, "kb", selection=Selection((), ["hr/"])).summary == "+0 ~0 -1, 2 unchanged"
    assert store.ingest(folder, "kb", selection=Selection(["*.csv", "hr/"], ())).summary == "+1 ~0 -1, 1 unchanged"
    assert [document.path for document in store.documents()] == ["hr/leave.md", "prices.csv"]
