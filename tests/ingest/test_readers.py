"""Who finds what in a real store: rules on all levels, inside both searches, through edits, losses and restarts."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from config.errors import BadRequestError, NotFoundError
from ingest.access.labels import Label, Place
from ingest.access.pick import Choice, pick_rules
from ingest.access.reader import ADMIN, ANYONE, Reader
from ingest.access.statements import ACCESS_FILE
from ingest.documents import Vectors
from ingest.embed import HashEmbedder
from ingest.store import FactStore

OpenStore = Callable[[], FactStore]
HR, BOARD = Reader(frozenset({"hr"})), Reader(frozenset({"board"}))
BOTH = Reader(frozenset({"hr", "board"}))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Open notes, an hr folder for hr, pay in it for the board too, and a document that says board itself."""
    tree = tmp_path / "tree"
    (tree / "hr" / "deep").mkdir(parents=True)
    (tree / "note.md").write_text("# Note\n\nshared gate words\n")
    (tree / "hr" / "leave.md").write_text("# Leave\n\nshared leave words\n")
    (tree / "hr" / "deep" / "pay-2026.md").write_text("# Pay\n\nshared pay words\n")
    (tree / "plan.md").write_text("---\naccess: [board]\n---\n# Plan\n\nshared plan words\n")
    (tree / "hr" / ACCESS_FILE).write_text('groups = ["hr"]\n[files]\n"pay-*" = ["board"]\n')
    return tree


def seen(store: FactStore, reader: Reader, query: str = "shared words", limit: int = 50) -> set[str]:
    """Paths that the reader finds; both searches must agree, and the document page too."""
    readable = store.readable(("kb",), reader)
    bases, chosen = readable.knowledge_bases, readable.scope
    dense = store.search_dense(query, bases, limit, chosen)
    lexical = store.search_lexical(query, bases, limit, chosen)
    assert {hit.chunk_id for hit in dense} == {hit.chunk_id for hit in lexical}
    found = {chunk.document_id for chunk in store.chunks([hit.chunk_id for hit in dense]).values()}
    for document in store.documents():
        if document.document_id in found:
            store.readable_document(document.document_id, ("kb",), reader)
        else:
            with pytest.raises(NotFoundError):
                store.readable_document(document.document_id, ("kb",), reader)
    return {document.path for document in store.documents_by_id(list(found)).values()}


OPEN_ONLY = {"note.md"}
ALL = {"note.md", "plan.md", "hr/leave.md", "hr/deep/pay-2026.md"}


def test_every_level_narrows(open_store: OpenStore, tree: Path) -> None:
    store = open_store()
    assert store.ingest(tree, "kb").failures == ()
    assert seen(store, ANYONE) == OPEN_ONLY
    assert seen(store, HR) == {"note.md", "hr/leave.md"}
    assert seen(store, BOARD) == {"note.md", "plan.md"}
    assert seen(store, BOTH) == seen(store, ADMIN) == ALL
    assert ACCESS_FILE not in {Path(document.path).name for document in store.documents()}
    store.restrict("kb", ("staff",))
    assert seen(store, BOTH) == seen(store, ANYONE) == set()
    assert seen(store, Reader(frozenset({"staff", "hr"}))) == {"note.md", "hr/leave.md"}
    assert seen(store, ADMIN) == ALL
    assert store.check_parity().is_good


def test_the_limit_is_filled_with_what_may_be_read(open_store: OpenStore, tree: Path) -> None:
    for number in range(30):
        (tree / "hr" / f"more{number}.md").write_text("# More\n\nshared words shared words\n")
    store = open_store()
    store.ingest(tree, "kb")
    assert seen(store, ANYONE, limit=1) == OPEN_ONLY


def test_changed_groups_act_at_once_and_embed_nothing(
    open_store: OpenStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    store.ingest(tree, "kb")
    embedded: list[str] = []
    original = HashEmbedder.embed

    def embed(self: HashEmbedder, texts: list[str]) -> Vectors:
        embedded.extend(texts)
        return original(self, texts)

    monkeypatch.setattr(HashEmbedder, "embed", embed)
    (tree / "hr" / ACCESS_FILE).write_text('groups = ["board"]\n[files]\n"pay-*" = ["hr"]\n')
    (tree / ACCESS_FILE).write_text('groups = ["hr", "board"]\n')
    (tree / "plan.md").write_text("---\naccess: [hr]\n---\n# Plan\n\nshared plan words\n")
    assert store.ingest(tree, "kb").failures == ()
    assert embedded == []
    assert seen(store, ANYONE) == set()
    assert seen(store, HR) == {"note.md", "plan.md"}
    assert seen(store, BOARD) == {"note.md", "hr/leave.md"}
    assert store.check_parity().is_good


def test_nothing_opens_because_a_statement_is_lost(open_store: OpenStore, tree: Path) -> None:
    store = open_store()
    store.ingest(tree, "kb")
    (tree / "hr" / ACCESS_FILE).unlink()
    (tree / "plan.md").write_text("# Plan\n\nshared plan words, new\n")
    (tree / "hr" / "new.md").write_text("# New\n\nshared new words\n")
    report = store.ingest(tree, "kb")
    assert {failure.reason for failure in report.failures} == {"access"}
    assert len(report.failures) == 3
    assert "housevoice access clear kb --folder" in report.failures[0].detail
    assert seen(store, ANYONE) == OPEN_ONLY
    assert seen(store, HR) == {"note.md", "hr/leave.md", "hr/new.md"}
    assert store.ingest(tree, "kb").failures == report.failures
    (tree / "hr" / ACCESS_FILE).write_text("groups = [")
    assert store.ingest(tree, "kb").failures[0].detail.startswith("It cannot be read")
    assert seen(store, ANYONE) == OPEN_ONLY


def test_an_admin_lifts_what_is_lost(open_store: OpenStore, tree: Path) -> None:
    store = open_store()
    store.ingest(tree, "kb")
    (tree / "hr" / ACCESS_FILE).unlink()
    store.ingest(tree, "kb")
    store.clear_access(pick_rules(store.access_rules("kb"), Choice("kb", folder=str(tree / "hr"))))
    assert seen(store, ANYONE) == ALL - {"plan.md"}
    store.clear_access(pick_rules(store.access_rules("kb"), Choice("kb", document="plan.md")))
    assert seen(store, ANYONE) == ALL
    assert store.ingest(tree, "kb").failures == ()
    assert seen(store, ANYONE) == ALL
    with pytest.raises(NotFoundError, match="no access rule"):
        pick_rules(store.access_rules("kb"), Choice("kb", is_stale=True))


def test_a_file_that_was_never_readable_closes_its_folder(open_store: OpenStore, tree: Path) -> None:
    (tree / "hr" / ACCESS_FILE).write_text('group = ["hr"]')
    (tree / "note.md").write_text("---\naccess: [Everybody!]\n---\n# Note\n\nshared gate words\n")
    store = open_store()
    assert len(store.ingest(tree, "kb").failures) == 2
    assert seen(store, BOTH) == {"plan.md"}
    (tree / "hr" / ACCESS_FILE).write_text('groups = ["hr"]')
    assert [failure.path for failure in store.ingest(tree, "kb").failures] == ["note.md"]
    assert seen(store, HR) == {"hr/leave.md", "hr/deep/pay-2026.md"}


def test_a_part_of_a_folder_does_not_shed_the_rules_above_it(open_store: OpenStore, tree: Path) -> None:
    store = open_store()
    store.ingest(tree / "hr" / "deep", "kb")
    store.ingest(tree / "hr" / "leave.md", "kb")
    assert seen(store, ANYONE) == set()
    assert seen(store, HR) == {"leave.md"}
    with pytest.raises(BadRequestError, match="no document"):
        store.ingest(tree / "hr" / ACCESS_FILE, "kb")


def test_a_moved_folder_and_a_link_keep_their_rules(open_store: OpenStore, tree: Path, tmp_path: Path) -> None:
    (tree / "link.md").symlink_to(tree / "hr" / "leave.md")
    store = open_store()
    store.ingest(tree, "kb")
    assert seen(store, ANYONE) == OPEN_ONLY
    moved = tmp_path / "moved"
    shutil.move(tree, moved)
    (moved / "hr" / ACCESS_FILE).unlink()
    (moved / "link.md").unlink()
    report = store.ingest(moved, "kb")
    assert seen(store, ANYONE) == OPEN_ONLY
    assert seen(store, HR) == {"note.md", "hr/leave.md", "link.md"}
    assert [failure.reason for failure in report.failures] == ["access", "access"]


def test_a_file_that_comes_back_comes_back_closed(open_store: OpenStore, tree: Path) -> None:
    store = open_store()
    store.ingest(tree, "kb")
    away = (tree / "plan.md").read_text()
    (tree / "plan.md").unlink()
    store.ingest(tree, "kb")
    (tree / "plan.md").write_text(away.replace("access: [board]", "title: Plan"))
    assert len(store.ingest(tree, "kb").failures) == 1
    assert "plan.md" not in seen(store, HR)


def test_labels_that_a_killed_process_did_not_write_are_written_at_the_next_start(
    open_store: OpenStore, tree: Path
) -> None:
    store = open_store()
    store.ingest(tree, "kb")
    note = next(document for document in store.documents() if document.path == "note.md")
    label = Label("kb", (Place(str(tree / "hr")),))
    store._access._labels.change({note.document_id: label})
    assert seen(store, ANYONE) == set()
    assert "note.md" in seen(store, HR)
    assert vector_labels(store, note.document_id) == {"open"}
    store = open_store()
    assert seen(store, ANYONE) == set()
    assert vector_labels(store, note.document_id) == {label.name}


def vector_labels(store: FactStore, document_id: str) -> set[str]:
    chunk_ids = [chunk.chunk_id for chunk in store.chunks_of(document_id)]
    rows = store._vectors._collection.get(ids=chunk_ids)["metadatas"]
    assert rows is not None
    return {str(row["access"]) for row in rows}


def test_a_dry_run_changes_no_rule(open_store: OpenStore, tree: Path) -> None:
    store = open_store()
    store.ingest(tree, "kb", dry_run=True)
    assert store.access_rules() == []


SOURCES = ("document_aliases", "mislabelled_vectors", "ingest_runs", "quarantine")


def test_a_store_of_the_release_before_opens_with_all_of_it_readable(open_store: OpenStore, tree: Path) -> None:
    """Its vectors have no access label, and its tables no rules."""
    store = open_store()
    store.ingest(tree / "note.md", "kb")
    chunk_ids = store._catalog.sample_chunk_ids(9)
    store._vectors._collection.update(ids=chunk_ids, metadatas=[{"access": None} for _ in chunk_ids])
    with store._tables.transaction() as connection:
        for table in ("access_rules", "access_labels", "document_access", "stale_labels", "document_labels", *SOURCES):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("ALTER TABLE lexical_rows DROP COLUMN access_label")
        connection.execute("UPDATE schema_version SET version = 1 WHERE component = 'facts'")
    store = open_store()
    (tree / "sub").mkdir()
    (tree / "sub" / "secret.md").write_text("---\naccess: hr\n---\nshared words\n")
    store.ingest(tree / "sub" / "secret.md", "kb")
    assert seen(store, ANYONE) == {"note.md"}
    assert seen(store, HR) == {"note.md", "sub/secret.md"}
