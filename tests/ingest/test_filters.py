"""Filters over a real store: they act inside both searches, and versions are told from the catalog."""

import os
from pathlib import Path

import pytest

from ingest.access.reader import ADMIN, ANYONE
from ingest.filters import EVERYTHING, UNRESTRICTED, SearchFilter, SearchScope
from ingest.store import FactStore
from tests.ingest.conftest import OpenStore

QUESTION = "What does the pod cost?"
JANUARY, JUNE = 1_767_225_600, 1_780_272_000
"""2026-01-01 and 2026-06-01, UTC."""

FILES = {
    "sales/rates-2024.md": ("---\ntags: [prices, Old]\n---\n# Rates\n\n## Pods\n\nThe pod cost 31 EUR.\n", JANUARY),
    "sales/rates-2026.md": ("---\ntags: prices\n---\n# Rates\n\n## Pods\n\nThe pod costs 34 EUR.\n", JUNE),
    "sales/rates.csv": ("Article,Cost\nPod,34 EUR\n", JUNE),
    "salesmen.md": ("# Salesmen\n\nA salesman may ask what the pod cost.\n", JANUARY),
    "notes/pods.md": ("---\nsupersedes: ../salesmen.md\n---\n# Notes\n\nThe pod must cost less.\n", JUNE),
}


@pytest.fixture
def store(open_store: OpenStore, tmp_path: Path) -> FactStore:
    folder = tmp_path / "filtered"
    for name, (text, modified) in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        os.utime(path, (modified, modified))
    store = open_store()
    assert store.ingest(folder, "kb").failures == ()
    store.ingest(folder / "notes", "other")
    return store


def scope(store: FactStore, chosen: SearchFilter) -> SearchScope:
    return store.readable(("kb",), ADMIN, chosen).scope


def paths(store: FactStore, chosen: SearchFilter) -> set[str]:
    allowed = scope(store, chosen).document_ids
    assert allowed is not None
    return {document.path for document in store.documents_by_id(sorted(allowed)).values()}


def test_each_field_restricts(store: FactStore) -> None:
    assert paths(store, SearchFilter(paths=("sales/",))) == {name for name in FILES if name.startswith("sales/")}
    assert paths(store, SearchFilter(paths=("/salesmen.md", "notes"))) == {"salesmen.md", "notes/pods.md"}
    assert paths(store, SearchFilter(paths=("*2026*",))) == {"sales/rates-2026.md"}
    assert paths(store, SearchFilter(types=("CSV",))) == {"sales/rates.csv"}
    assert paths(store, SearchFilter(types=("text/markdown",), paths=("sales",))) == {
        "sales/rates-2024.md",
        "sales/rates-2026.md",
    }
    assert paths(store, SearchFilter(tags=("old",))) == {"sales/rates-2024.md"}
    assert paths(store, SearchFilter(tags=("PRICES",), dated_from=JUNE)) == {"sales/rates-2026.md"}
    assert paths(store, SearchFilter(dated_before=JUNE)) == {"sales/rates-2024.md", "salesmen.md"}
    assert paths(store, SearchFilter(paths=("nowhere",))) == set()


def test_the_date_that_a_document_states_goes_before_its_files_time(store: FactStore, tmp_path: Path) -> None:
    """It was read and then forgotten: a filter looked at the file's time alone."""
    folder = tmp_path / "filtered"
    stated = {"old.md": "2025-12-31", "new.md": "2026-06-01", "no-date.md": "2026-06-31", "none.md": ""}
    for name, date in stated.items():
        (folder / name).write_text(f"---\ndate: {date}\n---\n# Pods\n\nThe pod cost a lot.\n")
        os.utime(folder / name, (JANUARY, JANUARY))
    (folder / "letter.eml").write_bytes(
        b"Subject: Pods\nDate: Mon, 01 Jun 2026 09:00:00 +0200\n\nThe pod cost is 34.\n"
    )
    os.utime(folder / "letter.eml", (JANUARY, JANUARY))
    assert store.ingest(folder, "kb").failures == ()
    mentioned = {*stated, "letter.eml"}
    assert paths(store, SearchFilter(dated_from=JUNE)) & mentioned == {"new.md", "letter.eml"}
    assert paths(store, SearchFilter(dated_from=JANUARY)) & mentioned == mentioned - {"old.md"}
    assert paths(store, SearchFilter(dated_before=JANUARY)) & mentioned == {"old.md"}
    (folder / "old.md").rename(folder / "renamed.md")
    store.ingest(folder, "kb")
    assert "renamed.md" in paths(store, SearchFilter(dated_before=JANUARY))


def test_an_empty_filter_restricts_nothing(store: FactStore) -> None:
    assert scope(store, EVERYTHING) == UNRESTRICTED


def test_a_value_is_no_query(store: FactStore) -> None:
    assert paths(store, SearchFilter(paths=("' OR 1=1 --",), types=("x') OR ('1'='1",))) == set()


def test_both_searches_take_the_best_of_what_is_allowed(store: FactStore) -> None:
    allowed = scope(store, SearchFilter(paths=("salesmen.md",)))
    dense = store.search_dense(QUESTION, ("kb",), 1, allowed)
    lexical = store.search_lexical(QUESTION, ("kb",), 1, allowed)
    found = store.chunks([hit.chunk_id for hit in (*dense, *lexical)]).values()
    assert len(dense) == len(lexical) == 1
    assert {store.document(chunk.document_id).path for chunk in found} == {"salesmen.md"}


@pytest.mark.parametrize("nothing", [SearchScope(frozenset()), SearchScope(None, frozenset())])
def test_nothing_allowed_finds_nothing(store: FactStore, nothing: SearchScope) -> None:
    assert store.search_dense(QUESTION, ("kb",), 5, nothing) == []
    assert store.search_lexical(QUESTION, ("kb",), 5, nothing) == []


def test_tags_follow_an_edit_and_go_with_their_document(store: FactStore, tmp_path: Path) -> None:
    folder = tmp_path / "filtered"
    (folder / "sales" / "rates-2026.md").write_text("---\ntags: rates\n---\n# Rates\n\nThe pod costs 35 EUR.\n")
    (folder / "sales" / "rates-2024.md").unlink()
    store.ingest(folder, "kb")
    assert paths(store, SearchFilter(tags=("rates",))) == {"sales/rates-2026.md"}
    assert paths(store, SearchFilter(tags=("prices", "old"))) == set()


def test_versions_by_name_and_by_word_of_the_newer_document(store: FactStore) -> None:
    ids = {document.path: document.document_id for document in store.documents("kb")}
    found = store.newer_versions(list(ids.values()), ADMIN)
    assert {store.document(old).path: new.path for old, new in found.items()} == {
        "sales/rates-2024.md": "sales/rates-2026.md",
        "salesmen.md": "notes/pods.md",
    }
    assert all(new.knowledge_base == "kb" for new in found.values())


def test_a_newer_version_that_may_not_be_seen_is_not_named(store: FactStore) -> None:
    ids = {document.path: document.document_id for document in store.documents("kb")}
    visible = frozenset({ids["sales/rates-2024.md"], ids["salesmen.md"]})
    assert store.newer_versions(sorted(visible), ADMIN, visible) == {}


def test_chunks_beside_one(open_store: OpenStore, tmp_path: Path) -> None:
    path = tmp_path / "long.md"
    path.write_text(
        "# Long\n\n" + "\n\n".join(f"Paragraph {n} says this and that and more of it." * 4 for n in range(4))
    )
    store = open_store()
    store.ingest(path, "kb")
    chunks = store.chunks_of(store.documents("kb")[0].document_id)
    assert len(chunks) > 2
    assert store.chunks_beside(chunks[1:2], ANYONE) == [chunks[2], chunks[0]]
    assert store.chunks_beside(chunks, ANYONE) == []
