"""A document that an operator took out is found by nobody, comes back by no run, and in again when it is lifted."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from config.datadir import DataDirectory
from config.errors import NotFoundError
from ingest.documents import Progress
from ingest.rebuild import rebuild
from ingest.store import FactStore
from tests.ingest.generations_world import NO_QUESTIONS, Setup, ignore, lexical_paths

OpenStore = Callable[[], FactStore]


def paths(store: FactStore) -> set[str]:
    """Of what can be found, by words and by meaning alike."""
    dense = {hit.chunk_id for hit in store.search_dense("days", ("kb",), 50)}
    assert dense == set(store.parts.vectors.ids())
    return {item.path for item in store.documents()}


def test_it_goes_at_once_and_stays_out(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    store.ingest(folder, "kb")
    store.quarantine("kb", "hr/leave.md", "poisoned")
    assert store.search_lexical("Twenty-six", ("kb",), 5) == []
    assert paths(store) == {"note.txt", "prices.csv"}
    report = store.ingest(folder, "kb")
    assert report.summary == "+0 ~0 -0, 2 unchanged"
    assert [(item.path, item.reason) for item in report.failures] == [("hr/leave.md", "quarantined")]
    assert "poisoned" in report.failures[0].detail
    (folder / "hr" / "leave.md").write_text("# Leave\n\nForty days.\n")
    store = open_store()
    store.ingest(folder, "kb")
    assert paths(store) == {"note.txt", "prices.csv"}


def test_neither_under_another_name_nor_as_a_copy(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    (folder / "copy.md").write_bytes((folder / "hr" / "leave.md").read_bytes())
    store.ingest(folder, "kb")
    store.quarantine("kb", "hr/leave.md")
    assert paths(store) == {"note.txt", "prices.csv"}
    (folder / "hr" / "leave.md").rename(folder / "holidays.md")
    for _ in range(2):
        report = store.ingest(folder, "kb")
        assert {item.path for item in report.failures} == {"copy.md", "holidays.md"}
        assert paths(store) == {"note.txt", "prices.csv"}


def test_lifted_it_comes_back_with_the_next_run(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    (folder / "copy.md").write_bytes((folder / "hr" / "leave.md").read_bytes())
    store.ingest(folder, "kb")
    store.quarantine("kb", "hr/leave.md")
    store.ingest(folder, "kb")
    store.lift_quarantine("kb", "hr/leave.md")
    report = store.ingest(folder, "kb")
    assert (report.summary, report.failures) == ("+2 ~0 -0, 2 unchanged", ())
    with pytest.raises(NotFoundError, match="not quarantined"):
        store.lift_quarantine("kb", "hr/leave.md")
    with pytest.raises(NotFoundError, match="no document"):
        store.quarantine("kb", "nowhere.md")


def test_in_the_middle_of_a_run_it_does_not_come_back_with_it(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    store.ingest(folder, "kb")
    (folder / "hr" / "leave.md").write_text("# Leave\n\nForty days.\n")
    (folder / "note.txt").write_text("The gate is open.\n")
    held = False

    def hold(progress: Progress) -> None:
        nonlocal held
        if progress.stage == "index" and not held:
            held = True
            store.quarantine("kb", "hr/leave.md")

    store.ingest(folder, "kb", on_progress=hold)
    assert held
    assert paths(store) == {"note.txt", "prices.csv"}


def test_it_holds_in_a_rebuilt_index(tmp_path: Path, folder: Path) -> None:
    setup = Setup(DataDirectory(tmp_path / "data"))
    with setup.opened() as generations:
        generations.ingest(folder, "kb")
        generations.quarantine("kb", "note.txt")
    with replace(setup, embedder="hash:64").opened() as generations:
        held = False

        def hold(progress: Progress) -> None:
            nonlocal held
            if progress.stage == "verify" and not held:
                held = True
                generations.quarantine("kb", "prices.csv")

        assert rebuild(generations, NO_QUESTIONS, hold).refusal == ""
        assert held
        assert generations.number == 2
        assert lexical_paths(generations, "gate Pod Leave") == ["hr/leave.md"]
        generations.ingest(folder, "kb")
        assert lexical_paths(generations, "gate Pod Leave") == ["hr/leave.md"]
        generations.lift_quarantine("kb", "note.txt")
        generations.ingest(folder, "kb")
        assert [item.path for item in generations.quarantined()] == ["prices.csv"]
        rebuild(generations, NO_QUESTIONS, ignore)
        assert lexical_paths(generations, "gate Pod Leave") == ["hr/leave.md", "note.txt"]
