"""The ingest commands as a person types them, and what a watch sees."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from config.settings import load_settings
from ingest.documents import Failure, IngestReport, Progress
from ingest.patterns import Selection
from ingest.runs import RunBook
from ingest.tables import FactTables
from server.cli.main import app
from server.cli.watch import changes_of

WATCHER = """
import signal, sys
from pathlib import Path
from ingest.patterns import Selection
from server.cli.console import errors_for_people
from server.cli.watch import changes_of

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore it
with errors_for_people():
    for _ in changes_of(Path(sys.argv[1]), Selection((), ["*.tmp"])):
        print("look", flush=True)
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("HOUSEVOICE_DATA_DIR", str(tmp_path / "data"))
    return CliRunner()


def write_runs(data: Path) -> None:
    data.mkdir()
    tables = FactTables(data / "housevoice.db")
    book = RunBook(tables)
    book.start("aaaa", "kb", "/docs")
    failures = (Failure("evil\x1b]0;title\x07[red].pdf", "damaged", "no trailer"),)
    book.finish(IngestReport("aaaa", 1, 0, 0, 2, 3, 0.5, False, failures))
    book.start("bbbb", "kb", "https://a.example/sitemap.xml")
    book.advance("bbbb", Progress("fetch", 3, 9, "https://a.example/3"))
    tables.close()


@pytest.mark.parametrize(
    "arguments", [["nowhere"], ["--dry-run", "nowhere"], ["-k", "kb", "nowhere"], ["run", "nowhere"]]
)
def test_the_source_needs_no_word_before_it(run: CliRunner, arguments: list[str]) -> None:
    result = run.invoke(app, ["ingest", *arguments])
    assert result.exit_code == 2
    assert "nowhere does not exist" in result.output.replace("\n", "")


def test_help_shows_both(run: CliRunner) -> None:
    result = run.invoke(app, ["ingest", "--help"])
    assert result.exit_code == 0
    assert "--sitemap" in result.output
    assert "ingest status" in result.output
    assert "--sitemap" not in run.invoke(app, ["ingest", "status", "--help"]).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name one source"),
        ([".", "--url", "https://a.example"], "Name one source"),
        ([".", "-k", "No Name"], "is no name for a knowledge base"),
        (["--watch", "--url", "https://a.example"], "Only a folder can be watched"),
        (["--urls", "absent.txt"], "absent.txt cannot be read"),
    ],
)
def test_what_cannot_be_done_says_so(run: CliRunner, arguments: list[str], message: str) -> None:
    result = run.invoke(app, ["ingest", *arguments])
    assert (result.exit_code, message in result.output) == (2, True), result.output


def test_status_without_a_server(run: CliRunner, tmp_path: Path) -> None:
    assert run.invoke(app, ["ingest", "status"]).exit_code == 0
    write_runs(tmp_path / "data")
    listed = run.invoke(app, ["ingest", "status"], env={"COLUMNS": "200"}).output
    assert "+1 ~0 -0, 2 unchanged, 1 failed" in listed
    assert "interrupted" in listed
    assert "fetch 3/9" in listed
    one = run.invoke(app, ["ingest", "status", "aaaa"], env={"COLUMNS": "200"}).output
    assert "[red].pdf" in one
    assert "damaged" in one
    assert "\x1b]0" not in one
    missing = run.invoke(app, ["ingest", "status", "cccc"])
    assert (missing.exit_code, "no ingest run 'cccc'" in missing.output) == (2, True)


def test_a_run_of_another_process_is_shown_as_running(run: CliRunner, tmp_path: Path) -> None:
    write_runs(tmp_path / "data")
    with load_settings(environment={"HOUSEVOICE_DATA_DIR": str(tmp_path / "data")}).data.own("ingest"):
        assert "running" in run.invoke(app, ["ingest", "status"], env={"COLUMNS": "200"}).output


def test_a_watch_looks_at_the_start_and_after_changes(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    changes = changes_of(folder, Selection(["*.md"], ["*.tmp"]))
    next(changes)
    (folder / "hr").mkdir()
    (folder / "hr" / "a.md").write_text("one")
    next(changes)
    (folder / "hr" / "a.md").rename(folder / "b.md")
    next(changes)
    (folder / "b.md").unlink()
    next(changes)
    changes.close()  # type: ignore[attr-defined]  # it is a generator


def test_ctrl_c_ends_a_watch(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WATCHER, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    ) as watcher:
        assert watcher.stdout
        assert watcher.stdout.readline() == "look\n"
        (tmp_path / "a.md").write_text("one")
        assert watcher.stdout.readline() == "look\n"
        watcher.send_signal(signal.SIGINT)
        _, errors = watcher.communicate()
    assert (watcher.returncode, errors.strip()) == (130, "Stopped.")
