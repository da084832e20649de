"""Runs over a folder: what they change, what they leave alone, and that all three stores agree."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from config.datadir import DataDirectory
from config.errors import BadRequestError, NotFoundError
from config.settings import load_settings
from ingest.documents import Progress
from ingest.embed import HashEmbedder
from ingest.store import FactStore

OpenStore = Callable[[], FactStore]


def found(store: FactStore, query: str, *knowledge_bases: str) -> set[str]:
    """Paths that either search finds."""
    bases = knowledge_bases or ("kb",)
    hits = [*store.search_dense(query, bases, 3)[:1], *store.search_lexical(query, bases, 3)]
    chunks = store.chunks([hit.chunk_id for hit in hits]).values()
    return {store.document(chunk.document_id).path for chunk in chunks}


def test_first_run_indexes_everything(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    report = store.ingest(folder, "kb")
    assert report.summary == "+3 ~0 -0, 0 unchanged"
    assert [document.path for document in store.documents()] == ["hr/leave.md", "note.txt", "prices.csv"]
    assert found(store, "gate code") == {"note.txt"}
    assert store.check_parity().is_good
    assert store.knowledge_bases() == ["kb"]


def test_second_run_changes_nothing(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    store.ingest(folder, "kb")
    before = store.documents()
    assert store.ingest(folder, "kb").summary == "+0 ~0 -0, 3 unchanged"
    os.utime(folder / "note.txt", (1, 1))
    assert store.ingest(folder, "kb").summary == "+0 ~0 -0, 3 unchanged"
    assert [document.indexed_unix_seconds for document in store.documents()] == [
        document.indexed_unix_seconds for document in before
    ]


def test_edits_additions_and_deletions(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    store.ingest(folder, "kb")
    before = {document.path: document.document_id for document in store.documents()}
    (folder / "note.txt").write_text("The gate code is 9902 since April.")
    (folder / "prices.csv").unlink()
    (folder / "new.txt").write_text("The canteen closes at three.")
    report = store.ingest(folder, "kb")
    assert report.summary == "+1 ~1 -1, 1 unchanged"
    assert set(report.outdated) == {before["note.txt"], before["prices.csv"]}
    assert found(store, "9902") == {"note.txt"}
    assert store.search_lexical("4711", ("kb",), 5) == []
    assert found(store, "canteen") == {"new.txt"}
    assert store.search_lexical("Pod", ("kb",), 5) == []
    assert {document.document_id for document in store.documents() if document.path == "note.txt"} == {
        before["note.txt"]
    }
    assert store.check_parity().is_good


def test_dry_run_writes_nothing(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    store.ingest(folder, "kb")
    (folder / "new.txt").write_text("new")
    (folder / "note.txt").unlink()
    report = store.ingest(folder, "kb", dry_run=True)
    assert (report.summary, report.dry_run) == ("+1 ~0 -1, 2 unchanged", True)
    assert [document.path for document in store.documents()] == ["hr/leave.md", "note.txt", "prices.csv"]


def test_bad_file_costs_only_itself(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 broken")
    (folder / "empty.md").write_bytes(b"")
    report = store.ingest(folder, "kb")
    assert report.num_added == 3
    assert [(failure.path, failure.reason) for failure in report.failures] == [
        ("broken.pdf", "damaged"),
        ("empty.md", "empty"),
    ]
    assert store.failures("kb") == list(report.failures)
    assert store.ingest(folder, "kb").failures == report.failures
    (folder / "empty.md").write_text("filled now")
    (folder / "broken.pdf").unlink()
    assert store.ingest(folder, "kb").failures == ()
    assert store.failures() == []


def test_a_file_that_breaks_is_no_longer_found(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    store.ingest(folder, "kb")
    (folder / "note.txt").write_bytes(b"")
    report = store.ingest(folder, "kb")
    assert report.summary == "+0 ~0 -1, 2 unchanged"
    assert store.search_lexical("gate", ("kb",), 5) == []
    assert store.check_parity().is_good


def test_one_file_of_a_known_folder_keeps_its_identity(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    store.ingest(folder, "kb")
    (folder / "hr" / "leave.md").write_text("# Leave\n\nThirty days.\n")
    assert store.ingest(folder / "hr" / "leave.md", "kb").summary == "+0 ~1 -0, 0 unchanged"
    assert [document.path for document in store.documents()] == ["hr/leave.md", "note.txt", "prices.csv"]


def test_two_folders_in_one_knowledge_base(open_store: OpenStore, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "menu.txt").write_text("Soup on Monday.")
    store = open_store()
    store.ingest(folder, "kb")
    assert store.ingest(other, "kb").summary == "+1 ~0 -0, 0 unchanged"
    assert len(store.documents("kb")) == 4


def test_knowledge_bases_are_apart(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    store.ingest(folder, "kb")
    store.ingest(folder / "note.txt", "other")
    assert found(store, "Pod", "other") == {"note.txt"}
    assert store.search_lexical("Pod", ("other",), 5) == []
    assert store.search_dense("Pod", (), 5) == []
    assert store.remove("other") == 1
    assert store.knowledge_bases() == ["kb"]
    assert store.check_parity().is_good


def test_remove_one_document(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    store.ingest(folder, "kb")
    document_id = next(document.document_id for document in store.documents() if document.path == "note.txt")
    assert store.remove("kb", "note.txt") == 1
    assert store.remove("kb", "note.txt") == 0
    with pytest.raises(NotFoundError, match=document_id):
        store.document(document_id)
    assert store.check_parity().is_good


def test_equal_texts_in_two_documents_stay_two(open_store: OpenStore, folder: Path) -> None:
    (folder / "copy.txt").write_bytes((folder / "note.txt").read_bytes())
    store = open_store()
    store.ingest(folder, "kb")
    assert found(store, "gate code") >= {"copy.txt", "note.txt"}


def test_everything_is_there_after_a_restart(open_store: OpenStore, folder: Path) -> None:
    open_store().ingest(folder, "kb")
    store = open_store()
    assert found(store, "gate code") == {"note.txt"}
    assert store.check_parity().is_good
    assert store.ingest(folder, "kb").summary == "+0 ~0 -0, 3 unchanged"


def test_links_outside_and_excluded_names_are_left_out(open_store: OpenStore, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("root password")
    (folder / "link.txt").symlink_to(secret)
    (folder / "inside.txt").symlink_to(folder / "note.txt")
    (folder / ".hidden.txt").write_text("hidden")
    (folder / "~$lock.docx").write_text("lock")
    store = open_store()
    store.ingest(folder, "kb")
    assert [document.path for document in store.documents()] == [
        *("hr/leave.md", "inside.txt", "note.txt", "prices.csv"),
    ]


def test_names_that_are_no_text(open_store: OpenStore, folder: Path) -> None:
    """A name in another encoding is bytes on this system, and SQLite stores text only."""
    Path(os.fsdecode(os.fsencode(folder) + b"/pr\xe4mie.txt")).write_text("The bonus is 312 EUR.")
    (folder / "<b>name<b> '; DROP TABLE x.txt").write_text("quoted")
    store = open_store()
    assert store.ingest(folder, "kb").num_added == 5
    assert found(store, "bonus 312") == {"pr\\xe4mie.txt"}
    assert store.ingest(folder, "kb").num_unchanged == 5


def test_clear_messages(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    with pytest.raises(BadRequestError, match=r"no file or folder .*nowhere"):
        store.ingest(folder / "nowhere", "kb")
    with pytest.raises(BadRequestError, match="'Kb!' is no name"):
        store.ingest(folder, "Kb!")


def test_progress_ends_complete(open_store: OpenStore, folder: Path) -> None:
    seen: list[Progress] = []
    open_store().ingest(folder, "kb", on_progress=seen.append)
    assert [step.path for step in seen if step.stage == "index"] == ["hr/leave.md", "note.txt", "prices.csv", ""]
    assert seen[-1].num_done == seen[-1].num_total == 3


def test_readers_never_fail_while_documents_change(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    store.ingest(folder, "kb")
    errors: list[Exception] = []
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            try:
                hits = [*store.search_dense("gate code", ("kb",), 9), *store.search_lexical("gate code", ("kb",), 9)]
                store.documents_by_id(
                    [chunk.document_id for chunk in store.chunks([h.chunk_id for h in hits]).values()]
                )
            except Exception as error:  # noqa: BLE001  any failure is what this test looks for
                errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(12):
        (folder / "note.txt").write_text(f"The gate code is {number} now. " * (1 + number % 3 * 10))
        (folder / f"extra{number % 2}.txt").write_text(f"Extra gate code number {number}.")
        (folder / f"extra{1 - number % 2}.txt").unlink(missing_ok=True)
        store.ingest(folder, "kb")
    is_over.set()
    for reader in readers:
        reader.join()
    assert errors == []
    assert store.check_parity().is_good


def test_an_interrupted_run_is_resumed(open_store: OpenStore, folder: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.path == "prices.csv":
            raise KeyboardInterrupt

    store = open_store()
    with pytest.raises(KeyboardInterrupt):
        store.ingest(folder, "kb", on_progress=interrupt)
    resumed = store.ingest(folder, "kb")
    assert resumed.num_added + resumed.num_unchanged == 3
    assert store.ingest(folder, "kb").summary == "+0 ~0 -0, 3 unchanged"
    assert store.check_parity().is_good


def test_another_embedder_means_new_vectors(open_store: OpenStore, folder: Path, tmp_path: Path) -> None:
    open_store().ingest(folder, "kb")
    open_store().close()
    settings = load_settings(environment={}).ingest.model_copy(update={"chunk_tokens": 40})
    store = FactStore.open(DataDirectory(tmp_path / "data"), settings, HashEmbedder(64), lambda text: len(text.split()))
    assert store.ingest(folder, "kb").summary == "+0 ~3 -0, 0 unchanged"
    assert found(store, "gate code") == {"note.txt"}
    assert store.check_parity().is_good
    store.close()
