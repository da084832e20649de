"""In a large index the filter comes behind the search, wider and wider; the hits are those of Chroma's own filter."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ingest import vectors
from ingest.documents import Chunk, IndexedChunk
from ingest.filters import SearchScope
from ingest.vectors import ChromaIndex

NUM_CHUNKS, NUM_DOCUMENTS = 300, 60
BASES, LABELS = ("a", "b", "c"), ("open", "hr", "board")
some = st.none() | st.frozensets(st.sampled_from(LABELS))


def item(number: int) -> IndexedChunk:
    document = number % NUM_DOCUMENTS
    chunk = Chunk(f"c{number}", f"d{document}", number, "text", (), "", 1)
    return IndexedChunk(chunk, BASES[document % 3 if document < 55 else 0], "T", LABELS[document // 20])


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ChromaIndex:
    index = ChromaIndex(tmp_path_factory.mktemp("vectors") / "chroma", "random")
    rows = np.random.default_rng(1).standard_normal((NUM_CHUNKS, 16)).astype(np.float32)
    index.upsert([item(number) for number in range(NUM_CHUNKS)], rows / np.linalg.norm(rows, axis=1, keepdims=True))
    return index


@given(
    bases=st.sets(st.sampled_from(BASES), min_size=1).map(lambda names: tuple(sorted(names))),
    labels=some,
    documents=st.none() | st.frozensets(st.integers(0, NUM_DOCUMENTS - 1).map("d{}".format), max_size=40),
    seed=st.integers(0, 1_000),
    limit=st.integers(1, 40),
)
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_ways_find_the_same(
    index: ChromaIndex,
    monkeypatch: pytest.MonkeyPatch,
    bases: tuple[str, ...],
    labels: frozenset[str] | None,
    documents: frozenset[str] | None,
    seed: int,
    limit: int,
) -> None:
    vector = np.random.default_rng(seed).standard_normal((1, 16)).astype(np.float32)
    vector /= np.linalg.norm(vector)
    scope = SearchScope(documents, labels)
    found = []
    for threshold in (NUM_CHUNKS + 1, 0):
        monkeypatch.setattr(vectors, "FILTERED_FIRST", threshold)
        found.append(index.search(vector, bases, limit, scope))
    assert [hit.chunk_id for hit in found[0]] == [hit.chunk_id for hit in found[1]]
    assert np.allclose([hit.score for hit in found[0]], [hit.score for hit in found[1]], atol=1e-5)


def test_its_size_is_known_after_every_change(tmp_path: Path) -> None:
    index = ChromaIndex(tmp_path / "chroma", "random")
    rows = np.eye(4, 16, dtype=np.float32)
    index.upsert([item(number) for number in range(4)], rows)
    index.delete(["c0", "unknown"])
    assert index._size == index.count() == 3
    index.close()
    reopened = ChromaIndex(tmp_path / "chroma", "random")
    assert reopened._size == 3
    reopened.close()
