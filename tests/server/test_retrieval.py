"""Fusion, floor, budget and merging on hand-made candidates, and one retrieval over a real store."""

from dataclasses import replace
from pathlib import Path

import pytest

from config.datadir import DataDirectory
from config.settings import RetrievalSettings, load_settings
from ingest.documents import Chunk, Document, Hit
from ingest.embed import HashEmbedder
from ingest.store import FactStore
from server.candidates import Candidate
from server.packing import expand_sources, pack_sources
from server.retrieval import Retriever, fuse, join_candidates

SETTINGS = load_settings(environment={}).retrieval.model_copy(
    update={
        "candidates": 2,
        "dense_weight": 1.0,
        "lexical_weight": 0.1,
        "max_chunks": 4,
        "max_tokens": 900,
        "max_chunks_per_document": 4,
    }
)


def settings(**changes: object) -> RetrievalSettings:
    return SETTINGS.model_copy(update=changes)


def document(document_id: str) -> Document:
    return Document(document_id, "kb", f"{document_id}.md", document_id.upper(), "text/plain", "h", 9, 0, 0)


def candidate(
    document_id: str, ordinal: int, text: str = "", num_tokens: int = 10, path: tuple[str, ...] = ()
) -> Candidate:
    chunk_id = f"{document_id}{ordinal}"
    chunk = Chunk(chunk_id, document_id, ordinal, text or f"text {chunk_id}", path, f"page {ordinal}", num_tokens)
    return Candidate(chunk, document(document_id), 1, 0.9, 1, 5.0, 1, 0.1)


def verdicts(candidates: list[Candidate], chosen: RetrievalSettings, best: float = 1.0) -> list[str]:
    return [item.verdict for item in pack_sources(candidates, best, chosen).candidates]


def test_fusion_sums_scores_and_what_a_full_list_lacks_counts_as_its_last() -> None:
    fused = fuse([Hit("a", 0.9), Hit("b", 0.8)], [Hit("b", 7.0), Hit("c", 5.0)], SETTINGS)
    assert [item.chunk_id for item in fused] == ["b", "a", "c"]
    assert [item.score for item in fused] == pytest.approx([0.8 + 0.7, 0.9 + 0.5, 0.8 + 0.5])
    both = fused[0]
    assert (both.dense_rank, both.dense_score, both.lexical_rank, both.lexical_score) == (2, 0.8, 1, 7.0)
    assert fused[1].lexical_rank is None
    assert fused[2].dense_score is None


def test_what_a_short_list_lacks_has_nothing_of_it() -> None:
    fused = fuse([Hit("a", 0.5), Hit("b", 0.4)], [Hit("b", 7.0)], SETTINGS)
    assert [item.chunk_id for item in fused] == ["b", "a"]
    assert [item.score for item in fused] == pytest.approx([1.1, 0.5])
    assert fuse([], [], SETTINGS) == []


def test_words_that_tell_little_do_not_outweigh_meaning() -> None:
    """By ranks, or by shares of the best, the first of a poor lexical list weighed as much as that of a good one."""
    dense = [Hit("meant", 0.8), Hit("other", 0.5)]
    assert fuse(dense, [Hit("other", 2.0)], SETTINGS)[0].chunk_id == "meant"
    assert fuse(dense, [Hit("other", 9.0)], SETTINGS)[0].chunk_id == "other"


def test_a_weight_of_zero_leaves_the_other_searchs_order() -> None:
    fused = fuse([Hit("a", 0.9)], [Hit("b", 7.0)], settings(dense_weight=0.0))
    assert [item.chunk_id for item in fused] == ["b", "a"]


def test_what_has_gone_is_passed_over() -> None:
    fused = fuse([Hit("a1", 0.9), Hit("gone", 0.8), Hit("b1", 0.7)], [], SETTINGS)
    chunks = {item.chunk.chunk_id: item.chunk for item in (candidate("a", 1), candidate("b", 1))}
    joined = join_candidates(fused, chunks, {"a": document("a")})
    assert [(item.chunk.chunk_id, item.fused_rank) for item in joined] == [("a1", 1)]


def test_floor_leaves_nothing() -> None:
    packed = pack_sources([candidate("a", 1)], 0.2, settings(relevance_floor=0.25))
    assert packed.sources == ()
    assert packed.candidates[0].verdict == "below floor"


def test_a_floor_of_nought_refuses_nothing() -> None:
    assert pack_sources([candidate("a", 1)], -0.1, settings(relevance_floor=0.0)).sources


def test_budget_of_tokens_and_of_chunks() -> None:
    three = [candidate("a", 1, num_tokens=60), candidate("b", 1, num_tokens=60), candidate("c", 1, num_tokens=30)]
    assert verdicts(three, settings(max_tokens=100)) == ["source 1", "over budget", "source 2"]
    assert verdicts(three, settings(max_chunks=1)) == ["source 1", "over budget", "over budget"]


def test_neighbours_become_one_source_in_reading_order() -> None:
    found = [candidate("a", 4, path=("S", "x")), candidate("b", 1), candidate("a", 3, path=("S", "y"))]
    packed = pack_sources(found, 1.0, SETTINGS)
    assert [item.verdict for item in packed.candidates] == ["source 1", "source 2", "merged into source 1"]
    merged = packed.sources[0]
    assert (merged.heading, merged.location, merged.num_tokens) == ("S", "page 3, page 4", 20)
    assert merged.text == "y\ntext a3\nx\ntext a4"
    assert [source.number for source in packed.sources] == [1, 2]


def test_merging_can_be_turned_off_and_needs_neighbours() -> None:
    found = [candidate("a", 4), candidate("a", 5), candidate("a", 9)]
    assert verdicts(found, settings(merge_neighbours=False)) == ["source 1", "source 2", "source 3"]
    assert verdicts(found, SETTINGS) == ["source 1", "merged into source 1", "source 2"]


def test_equal_texts_are_shown_once() -> None:
    found = [candidate("a", 1, "same"), candidate("b", 1, "same "), candidate("c", 1)]
    assert verdicts(found, SETTINGS) == ["source 1", "duplicate of source 1", "source 2"]


def test_a_document_takes_its_share_and_no_more() -> None:
    planted = [candidate("p", 1), candidate("p", 5), candidate("p", 9), candidate("b", 1)]
    judged = verdicts(planted, settings(max_chunks_per_document=2))
    assert judged == ["source 1", "source 2", "over its document's share", "source 3"]


def test_what_is_left_of_the_budget_goes_to_neighbours_of_the_same_section() -> None:
    around = [candidate("a", ordinal, path=("S",)).chunk for ordinal in (3, 5)] + [candidate("b", 2).chunk]
    found = [candidate("a", 4, path=("S",)), candidate("b", 1), candidate("a", 9), candidate("b", 2)]
    packed = pack_sources(found, 1.0, settings(max_chunks=2))
    expanded = expand_sources(packed, around, settings(max_tokens=45))
    assert [[chunk.chunk_id for chunk in source.chunks] for source in expanded.sources] == [["a3", "a4", "a5"], ["b1"]]
    assert expanded.sources[0].text == "text a3\ntext a4\ntext a5"
    assert [item.verdict for item in expanded.candidates][2:] == ["over budget", "over budget"]
    all_of_them = expand_sources(packed, around, settings(max_tokens=50))
    assert all_of_them.candidates[3].verdict == "brought into source 2 by its neighbour"


def test_a_chunk_of_another_section_is_not_brought_in() -> None:
    packed = pack_sources([candidate("a", 4, path=("S",))], 1.0, SETTINGS)
    assert expand_sources(packed, [candidate("a", 5, path=("T",)).chunk], SETTINGS).sources == packed.sources


def test_verdicts_change_nothing_else() -> None:
    found = [candidate("a", 1)]
    assert replace(pack_sources(found, 1.0, SETTINGS).candidates[0], verdict="") == found[0]


@pytest.fixture
def retriever(tmp_path: Path) -> Retriever:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "leave.md").write_text("# Leave\n\n## Annual\n\nAnnual leave is twenty-six days.\n")
    (folder / "rooms.md").write_text("# Rooms\n\n## Wren\n\nWren has three seats.\n")
    store = FactStore.open(
        DataDirectory(tmp_path / "data"), load_settings(environment={}).ingest, HashEmbedder(), lambda t: len(t.split())
    )
    store.ingest(folder, "kb")
    return Retriever(store, SETTINGS)


def test_retrieve_over_a_real_store(retriever: Retriever) -> None:
    found = retriever.retrieve("how many days of annual leave", ("kb",))
    assert found.sources[0].document.title == "Leave"
    assert found.sources[0].heading == "Annual"
    assert found.sources[0].text == "Annual leave is twenty-six days."
    assert found.candidates[0].verdict == "source 1"
    assert found.best_similarity > found.floor == SETTINGS.relevance_floor


def test_unrelated_and_empty_questions_find_nothing(retriever: Retriever) -> None:
    assert retriever.retrieve("zebra xylophone", ("kb",)).sources == ()
    assert retriever.retrieve("", ("kb",)).sources == ()
    assert retriever.retrieve("annual leave", ("other",)).sources == ()
