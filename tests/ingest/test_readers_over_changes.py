"""Who reads what stays as it is when the index is built anew, goes back, or its documents are renamed."""

from dataclasses import replace
from pathlib import Path

import pytest

from config.datadir import DataDirectory
from ingest.access.reader import ADMIN, ANYONE, Reader
from ingest.access.statements import ACCESS_FILE
from ingest.labels import Kind, Label
from ingest.rebuild import rebuild
from ingest.rollback import roll_back
from ingest.store import FactStore
from tests.ingest.generations_world import NO_QUESTIONS, Setup, ignore
from tests.ingest.test_readers import OpenStore, seen

HR, BOARD = Reader(frozenset({"hr"})), Reader(frozenset({"board"}))
READERS = {"anyone": ANYONE, "hr": HR, "board": BOARD, "admin": ADMIN}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "hr").mkdir(parents=True)
    (tree / "note.md").write_text("# Gate note\n\nshared gate words\n")
    (tree / "hr" / "leave.md").write_text("# Annual leave\n\nshared leave words\n")
    (tree / "plan.md").write_text("---\naccess: [board]\ntags: [secret]\n---\n# Next plan\n\nshared plan words\n")
    (tree / "hr" / ACCESS_FILE).write_text('groups = ["hr"]\n')
    return tree


def everybody(store: FactStore) -> dict[str, set[str]]:
    return {name: seen(store, reader) for name, reader in READERS.items()}


def test_a_rebuilt_index_and_one_gone_back_to_have_the_readers_of_now(tmp_path: Path, tree: Path) -> None:
    setup = Setup(DataDirectory(tmp_path / "data"))
    with setup.opened() as generations:
        generations.ingest(tree, "kb")
        before = everybody(generations.live)
    assert before["anyone"] == {"note.md"}
    with replace(setup, embedder="hash:64").opened() as generations:
        rebuild(generations, NO_QUESTIONS, ignore)
        assert generations.number == 2
        assert everybody(generations.live) == before
        (tree / "hr" / ACCESS_FILE).write_text('groups = ["board"]\n')
        (tree / "note.md").write_text("---\naccess: hr\n---\nshared gate words\n")
        generations.ingest(tree, "kb")
        generations.restrict("kb", ("board", "hr"))
        now = everybody(generations.live)
        assert now == {
            "anyone": set(),
            "hr": {"note.md"},
            "board": {"hr/leave.md", "plan.md"},
            "admin": before["admin"],
        }
        roll_back(generations, None, ignore)
        assert generations.number == 1
        assert everybody(generations.live) == now
        assert generations.ingest(tree, "kb").summary == "+0 ~0 -0, 3 unchanged"
        assert everybody(generations.live) == now


def test_a_rule_that_came_while_the_index_was_built_holds_in_it(tmp_path: Path, tree: Path) -> None:
    setup = Setup(DataDirectory(tmp_path / "data"))
    with setup.opened() as generations:
        generations.ingest(tree, "kb")
    with replace(setup, embedder="hash:64").opened() as generations:
        changed = False

        def close_all(progress: object) -> None:
            nonlocal changed
            if not changed and getattr(progress, "stage", "") == "verify":
                changed = True
                (tree / ACCESS_FILE).write_text('groups = ["board"]\n')
                generations.ingest(tree, "kb")

        rebuild(generations, NO_QUESTIONS, close_all)
        assert changed
        assert generations.number == 2
        assert everybody(generations.live) | {"admin": set()} == {
            "anyone": set(),
            "hr": set(),
            "board": {"note.md", "plan.md"},
            "admin": set(),
        }


def test_a_carried_document_keeps_its_tags(tmp_path: Path, tree: Path) -> None:
    setup = Setup(DataDirectory(tmp_path / "data"))
    with setup.opened() as generations:
        generations.ingest(tree, "kb")
    (tree / "plan.md").unlink()
    with replace(setup, embedder="hash:64").opened() as generations:
        assert rebuild(generations, NO_QUESTIONS, ignore).num_carried == 1
        (plan,) = [item for item in generations.documents() if item.path == "plan.md"]
        assert Label(Kind.TAG, "secret") in generations.live.parts.labels.of_document(plan.document_id)


@pytest.mark.parametrize("title", ["# Other title", ""])
def test_a_renamed_document_is_no_more_open_than_before(open_store: OpenStore, tree: Path, title: str) -> None:
    """Both ways: with its chunks, and read again (without a title its name becomes one)."""
    (tree / "hr" / "pay.md").write_text(f"{title}\n\nshared pay words\n")
    (tree / "own.md").write_text(f"---\naccess: board\n---\n{title}\n\nshared own words\n")
    store = open_store()
    store.ingest(tree, "kb")
    (tree / "hr" / "pay.md").rename(tree / "salaries.md")
    (tree / "own.md").rename(tree / "ours.md")
    assert store.ingest(tree, "kb").summary == "+0 ~0 -0, 3 unchanged, 2 renamed"
    for _ in range(2):
        assert everybody(store) == {
            "anyone": {"note.md"},
            "hr": {"note.md", "hr/leave.md", "salaries.md"},
            "board": {"note.md", "plan.md", "ours.md"},
            "admin": {"note.md", "hr/leave.md", "salaries.md", "plan.md", "ours.md"},
        }
        store = open_store()
        assert store.ingest(tree, "kb").summary == "+0 ~0 -0, 5 unchanged"


def test_an_old_link_to_a_renamed_document_shows_it_to_its_readers_only(open_store: OpenStore, tree: Path) -> None:
    store = open_store()
    store.ingest(tree, "kb")
    old = {item.path: item.document_id for item in store.documents()}["hr/leave.md"]
    (tree / "hr" / "leave.md").rename(tree / "hr" / "holidays.md")
    store.ingest(tree, "kb")
    assert store.readable_document(old, ("kb",), HR).path == "hr/holidays.md"
    with pytest.raises(Exception, match="no document"):
        store.readable_document(old, ("kb",), BOARD)


def test_a_renamed_document_keeps_its_tags(open_store: OpenStore, tree: Path) -> None:
    store = open_store()
    store.ingest(tree, "kb")
    (tree / "plan.md").rename(tree / "plan-v2.md")
    store.ingest(tree, "kb")
    (plan,) = [item for item in store.documents() if item.path == "plan-v2.md"]
    labels = store.parts.labels.of_document(plan.document_id)
    assert Label(Kind.TAG, "secret") in labels


def test_what_a_document_supersedes_moves_along_with_it(open_store: OpenStore, tree: Path) -> None:
    (tree / "rates").mkdir()
    (tree / "rates" / "old.md").write_text("# Old rates\n\nshared rate words\n")
    (tree / "rates" / "new.md").write_text("---\nsupersedes: old.md\n---\n# Rates of now\n\nshared rate words\n")
    store = open_store()
    store.ingest(tree, "kb")
    (tree / "rates").rename(tree / "prices")
    assert store.ingest(tree, "kb").summary.endswith("2 renamed")
    by_path = {item.path: item.document_id for item in store.documents()}
    newer = store.newer_versions([by_path["prices/old.md"]], ADMIN)
    assert newer[by_path["prices/old.md"]].path == "prices/new.md"
