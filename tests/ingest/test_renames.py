"""Documents that were renamed or moved keep what was computed for them, and links to them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ingest.documents import IndexedChunk
from ingest.embed import HashEmbedder
from ingest.store import FactStore
from ingest.vectors import ChromaIndex

OpenStore = Callable[[], FactStore]


@pytest.fixture
def num_embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each call has embedded."""
    counts: list[int] = []
    embed = HashEmbedder.embed

    def counting(self: HashEmbedder, texts: list[str]) -> object:
        counts.append(len(texts))
        return embed(self, texts)

    monkeypatch.setattr(HashEmbedder, "embed", counting)
    return counts


def ids(store: FactStore) -> dict[str, str]:
    return {document.path: document.document_id for document in store.documents()}


def words(store: FactStore, query: str) -> set[str]:
    hits = store.search_lexical(query, ("kb",), 9)
    chunks = store.chunks([hit.chunk_id for hit in hits])
    assert len(chunks) == len(hits)
    return {store.document(chunk.document_id).path for chunk in chunks.values()}


def test_a_renamed_document_is_not_embedded_again(open_store: OpenStore, folder: Path, num_embedded: list[int]) -> None:
    store = open_store()
    store.ingest(folder, "kb")
    old_id = ids(store)["hr/leave.md"]
    old_chunks = store.chunks_of(old_id)
    num_embedded.clear()
    (folder / "people").mkdir()
    (folder / "hr" / "leave.md").rename(folder / "people" / "annual-leave.md")
    report = store.ingest(folder, "kb")
    assert report.summary == "+0 ~0 -0, 2 unchanged, 1 renamed"
    assert report.is_change
    assert report.outdated == (old_id,)
    assert num_embedded == []
    new_id = ids(store)["people/annual-leave.md"]
    assert new_id != old_id
    assert [replace(chunk, document_id=old_id) for chunk in store.chunks_of(new_id)] == old_chunks
    assert store.chunks_of(old_id) == []
    assert words(store, "twenty six") == {"people/annual-leave.md"}
    parity = store.check_parity(1000)
    assert parity.is_good
    assert store.ingest(folder, "kb").summary == "+0 ~0 -0, 3 unchanged"


def test_links_survive_any_number_of_renames(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    store.ingest(folder, "kb")
    first = ids(store)["hr/leave.md"]
    (folder / "hr" / "leave.md").rename(folder / "b.md")
    store.ingest(folder, "kb")
    second = ids(store)["b.md"]
    (folder / "b.md").rename(folder / "c.md")
    store.ingest(folder, "kb")
    assert {store.document(key).path for key in (first, second, ids(store)["c.md"])} == {"c.md"}
    (folder / "c.md").write_text("# Leave\n\nThirty days, since the edit.\n")
    store.ingest(folder, "kb")
    assert store.document(first).path == "c.md"


def test_a_new_document_at_the_old_place_is_what_the_old_link_means(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    store.ingest(folder, "kb")
    first = ids(store)["hr/leave.md"]
    (folder / "hr" / "leave.md").rename(folder / "b.md")
    store.ingest(folder, "kb")
    (folder / "hr" / "leave.md").write_text("# Parental leave\n\nOther text.\n")
    store.ingest(folder, "kb")
    assert store.document(first).path == "hr/leave.md"


def test_a_copy_put_back_has_chunks_of_its_own(open_store: OpenStore, folder: Path) -> None:
    """The renamed document took its chunk ids along, which are made of the old place and the same content."""
    store = open_store()
    store.ingest(folder, "kb")
    for number in range(3):
        (folder / "hr" / "leave.md").rename(folder / f"copy{number}.md")
        store.ingest(folder, "kb")
        (folder / "hr" / "leave.md").write_bytes((folder / f"copy{number}.md").read_bytes())
        assert store.ingest(folder, "kb").summary == f"+1 ~0 -0, {number + 3} unchanged"
    assert words(store, "twenty six") == {"hr/leave.md", "copy0.md", "copy1.md", "copy2.md"}
    assert store.check_parity(1000).is_good


def test_a_move_that_was_killed_half_way_is_finished(
    open_store: OpenStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the catalog, before the vectors: they still say that they belong to the old document."""
    store = open_store()
    store.ingest(folder, "kb")
    reassign = ChromaIndex.reassign

    def die(self: ChromaIndex, chunks: list[IndexedChunk]) -> None:
        raise KeyboardInterrupt

    (folder / "hr" / "leave.md").rename(folder / "b.md")
    monkeypatch.setattr(ChromaIndex, "reassign", die)
    with pytest.raises(KeyboardInterrupt):
        store.ingest(folder, "kb")
    owners: list[str] = []

    def noting(self: ChromaIndex, chunks: list[IndexedChunk]) -> None:
        owners.extend(item.chunk.document_id for item in chunks)
        reassign(self, chunks)

    monkeypatch.setattr(ChromaIndex, "reassign", noting)
    store = open_store()
    assert owners == [ids(store)["b.md"]]
    owners.clear()
    assert store.ingest(folder, "kb").summary == "+0 ~0 -0, 3 unchanged"
    assert owners == []


def test_links_end_with_the_document(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    store.ingest(folder, "kb")
    first = ids(store)["hr/leave.md"]
    (folder / "hr" / "leave.md").rename(folder / "b.md")
    store.ingest(folder, "kb")
    (folder / "b.md").unlink()
    assert store.ingest(folder, "kb").summary == "+0 ~0 -1, 2 unchanged"
    with pytest.raises(Exception, match=first):
        store.document(first)


@pytest.mark.parametrize("new_name", ["gate.txt", "note.md"])
def test_a_name_that_matters_to_the_parser_means_parsing_again(
    open_store: OpenStore, folder: Path, num_embedded: list[int], new_name: str
) -> None:
    """A text file is titled by its name, and the title is embedded with each chunk; an ending hints at the format."""
    store = open_store()
    store.ingest(folder, "kb")
    old_id = ids(store)["note.txt"]
    num_embedded.clear()
    (folder / "note.txt").rename(folder / new_name)
    assert store.ingest(folder, "kb").summary == "+0 ~0 -0, 2 unchanged, 1 renamed"
    assert sum(num_embedded) == 1
    assert store.document(old_id).path == new_name
    assert store.check_parity(1000).is_good


def test_a_move_alone_keeps_a_title_from_the_name(open_store: OpenStore, folder: Path, num_embedded: list[int]) -> None:
    store = open_store()
    store.ingest(folder, "kb")
    num_embedded.clear()
    (folder / "note.txt").rename(folder / "hr" / "note.txt")
    assert store.ingest(folder, "kb").summary == "+0 ~0 -0, 2 unchanged, 1 renamed"
    assert num_embedded == []


def test_copies_are_paired_by_name_and_only_once(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    text = "# Canteen\n\nOpen till three.\n"
    for name in ("a/menu.md", "b/rules.md"):
        (folder / name).parent.mkdir()
        (folder / name).write_text(text)
    store.ingest(folder, "kb")
    before = ids(store)
    (folder / "a" / "menu.md").rename(folder / "menu.md")
    (folder / "b" / "rules.md").rename(folder / "rules.md")
    (folder / "third.md").write_text(text)
    assert store.ingest(folder, "kb").summary == "+1 ~0 -0, 3 unchanged, 2 renamed"
    assert store.document(before["a/menu.md"]).path == "menu.md"
    assert store.document(before["b/rules.md"]).path == "rules.md"


def test_a_dry_run_tells_of_renames(open_store: OpenStore, folder: Path) -> None:
    store = open_store()
    store.ingest(folder, "kb")
    (folder / "note.txt").rename(folder / "gate.txt")
    assert store.ingest(folder, "kb", dry_run=True).summary == "+0 ~0 -0, 2 unchanged, 1 renamed"
    assert "note.txt" in ids(store)


def test_a_folder_of_hundreds_is_renamed_in_one_run(
    open_store: OpenStore, folder: Path, num_embedded: list[int]
) -> None:
    """More than one group of writes. Each text has words of its own: HNSW loses points among vectors that are nearly
    equal, renamed or not.
    """
    old = folder / "old"
    old.mkdir()
    for number in range(150):
        (old / f"{number}.txt").write_text(" ".join(f"word{number}{letter}" for letter in "abcdefghij"))
    store = open_store()
    store.ingest(folder, "kb")
    num_embedded.clear()
    old.rename(folder / "new")
    assert store.ingest(folder, "kb").summary == "+0 ~0 -0, 3 unchanged, 150 renamed"
    assert num_embedded == []
    assert words(store, "word77a") == {"new/77.txt"}
    assert store.check_parity(1000).is_good
