"""Full verification: each kind of damage is found, told, and mended."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.datadir import DataDirectory
from ingest.access.labels import OPEN
from ingest.documents import Chunk, IndexedChunk
from ingest.generations import IndexGenerations
from ingest.store import StoreParts
from ingest.verify import Findings, verify
from tests.ingest.generations_world import Setup, ignore, lexical_paths, write_documents


@pytest.fixture
def generations(tmp_path: Path) -> Iterator[IndexGenerations]:
    write_documents(tmp_path / "docs")
    with Setup(DataDirectory(tmp_path / "data")).opened() as generations:
        generations.ingest(tmp_path / "docs", "kb")
        yield generations


def check(generations: IndexGenerations, *, repair: bool = False) -> Findings:
    return verify(generations, repair=repair, on_progress=ignore)


def ids_of(parts: StoreParts, count: int = 3) -> list[str]:
    return parts.catalog.sample_chunk_ids(count)


def test_a_sound_index_is_sound(generations: IndexGenerations) -> None:
    findings = check(generations)
    assert findings.is_good
    assert findings.num_chunks == generations.live.parts.catalog.count_chunks() > 20


def test_missing_vectors_are_embedded_again(generations: IndexGenerations) -> None:
    parts = generations.live.parts
    lost = ids_of(parts)
    parts.vectors.delete(lost)
    findings = check(generations)
    assert sorted(findings.no_vector) == sorted(lost)
    assert not findings.is_good
    assert not generations.check_parity().is_good
    assert check(generations, repair=True).is_good
    assert generations.check_parity(1_000).is_good


def test_stray_vectors_and_words_are_removed(generations: IndexGenerations) -> None:
    parts = generations.live.parts
    stray = IndexedChunk(Chunk("stray", "gone", 0, "A stray walrus.", (), "", 3), "kb", "Gone", OPEN)
    parts.vectors.upsert([stray], parts.embedder.embed(["A stray walrus."]))
    parts.lexical.upsert([stray])
    findings = check(generations)
    assert (findings.stray_vectors, findings.stray_words) == (["stray"], ["stray"])
    assert check(generations, repair=True).is_good
    assert parts.lexical.search("walrus", ("kb",), 3) == []


def test_missing_and_wrong_words_are_indexed_again(generations: IndexGenerations) -> None:
    parts = generations.live.parts
    gone, wrong = ids_of(parts, 2)
    parts.lexical.delete([gone])
    with parts.tables.transaction() as connection:
        connection.execute(
            "UPDATE lexical_words SET body = 'nothing' WHERE rowid ="
            " (SELECT row_number FROM lexical_rows WHERE chunk_id = ?)",
            (wrong,),
        )
    findings = check(generations)
    assert (findings.no_words, findings.wrong_words) == ([gone], [wrong])
    assert check(generations, repair=True).is_good


def test_a_vector_of_something_else_is_found_unreachable(generations: IndexGenerations) -> None:
    """It is stored and would find itself, so only its absence from the filter's knowledge base shows it."""
    parts = generations.live.parts
    (moved,) = ids_of(parts, 1)
    chunk = parts.catalog.chunks([moved])[moved]
    vector = parts.vectors.fetch([moved])[moved]
    parts.vectors.upsert([IndexedChunk(chunk, "elsewhere", "x", OPEN)], vector)
    assert check(generations).unreachable == [moved]
    assert check(generations, repair=True).is_good


def test_a_document_that_lacks_chunks_comes_back_from_its_file(generations: IndexGenerations, tmp_path: Path) -> None:
    parts = generations.live.parts
    document = generations.documents()[3]
    victim = generations.chunks_of(document.document_id)[1].chunk_id
    with parts.tables.transaction() as connection:
        connection.execute("DELETE FROM chunks WHERE chunk_id = ?", (victim,))
    findings = check(generations)
    assert findings.incomplete == [document.document_id]
    assert check(generations, repair=True).incomplete == [document.document_id]
    assert generations.ingest(tmp_path / "docs", "kb").summary == "+0 ~1 -0, 7 unchanged"
    assert check(generations).is_good


def test_a_damaged_word_index_is_built_again(generations: IndexGenerations) -> None:
    with generations.live.parts.tables.transaction() as connection:
        connection.execute("DELETE FROM lexical_words_idx")
        connection.execute("DELETE FROM lexical_words_data WHERE id > 10")
    assert check(generations).damage
    assert check(generations, repair=True).is_good
    assert lexical_paths(generations, "value3x1") == ["d3.md"]
