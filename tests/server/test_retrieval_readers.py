"""Retrieval for somebody who may not read everything is retrieval over a store in which the rest does not exist."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.datadir import DataDirectory
from config.settings import load_settings
from ingest.access.reader import ADMIN, ANYONE, Reader
from ingest.embed import HashEmbedder
from ingest.filters import EVERYTHING, SearchFilter
from ingest.store import FactStore
from server.reranking import Reranker
from server.retrieval import Retrieval, Retriever

HR = Reader(frozenset({"hr"}))
SETTINGS = load_settings(environment={}).retrieval.model_copy(
    update={"max_chunks": 9, "max_chunks_per_document": 9, "max_tokens": 9_000, "rerank_seconds": 60.0}
)
QUESTION = "What does the pod cost?"
OPEN = {
    "rates-2024.md": "---\ntags: prices\n---\n# Rates\n\n## Pods\n\nThe pod cost: what the pod does cost is 31 EUR.\n",
    "rates-2025.md": "---\ntags: prices\n---\n# Rates\n\n## Pods\n\nA pod was priced at 33 EUR.\n",
    "terms.md": "# Terms\n\n## Pods\n\nWhat the pod does not cost is settled elsewhere.\n",
    "new-terms.md": "---\nsupersedes: terms.md\n---\n# Terms from now on\n\n## Pods\n\nA pod must not cost more.\n",
}
HIDDEN = {
    "rates-2026.md": "---\naccess: hr\ntags: prices\n---\n# Rates\n\n## Pods\n\nThe pod does cost 34 EUR.\n",
    "secret-terms.md": "---\naccess: hr\nsupersedes: [terms.md, rates-2025.md]\n---\n# T\n\n## Pods\n\nPods cost.\n",
}
PRICES = SearchFilter(tags=("prices",))

MakeStore = Callable[[dict[str, str]], FactStore]


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[MakeStore]:
    """A store of its own for each set of files; its knowledge base is "kb"."""
    stores: list[FactStore] = []

    def make(files: dict[str, str]) -> FactStore:
        place = tmp_path / str(len(stores))
        folder = place / "documents"
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        settings = load_settings(environment={}).ingest.model_copy(update={"chunk_tokens": 40})
        store = FactStore.open(DataDirectory(place / "data"), settings, HashEmbedder(), lambda text: len(text.split()))
        stores.append(store)
        assert store.ingest(folder, "kb").failures == ()
        return store

    yield make
    for store in stores:
        store.close()


def retrieve(store: FactStore, reader: Reader, search_filter: SearchFilter = EVERYTHING) -> Retrieval:
    return Retriever(store, SETTINGS).retrieve(QUESTION, ("kb",), reader, search_filter)


def told(found: Retrieval) -> tuple[list[object], list[object]]:
    """What somebody gets and sees of it, without the scores."""
    sources = [(source.number, source.document.path, source.text, source.superseded_by) for source in found.sources]
    candidates = [(item.document.path, item.superseded_by, item.verdict) for item in found.candidates]
    return [*sources], [*candidates]


def superseded(found: Retrieval) -> dict[str, str]:
    return {item.document.path: item.superseded_by for item in found.candidates}


@pytest.mark.parametrize("chosen", [EVERYTHING, PRICES])
def test_a_version_that_may_not_be_read_neither_shows_nor_demotes(make_store: MakeStore, chosen: SearchFilter) -> None:
    found = retrieve(make_store(OPEN | HIDDEN), ANYONE, chosen)
    assert told(found) == told(retrieve(make_store(OPEN), ANYONE, chosen))
    assert superseded(found)["rates-2024.md"] == "rates-2025.md"
    assert superseded(found)["rates-2025.md"] == ""
    paths = [source.document.path for source in found.sources]
    assert paths.index("rates-2025.md") < paths.index("rates-2024.md")


def test_who_may_read_the_newest_version_gets_it_first(make_store: MakeStore) -> None:
    store = make_store(OPEN | HIDDEN)
    found = retrieve(store, HR)
    assert superseded(found)["rates-2024.md"] == "rates-2026.md"
    assert superseded(found)["terms.md"] == superseded(found)["rates-2025.md"] == "secret-terms.md"
    assert told(found) == told(retrieve(store, ADMIN))
    requirements = {source.document.path: source.requirement for source in found.sources}
    assert requirements["rates-2026.md"] == (("hr",),)
    assert requirements["rates-2024.md"] == ()


def test_a_filter_selects_among_what_may_be_read(make_store: MakeStore) -> None:
    store = make_store(OPEN | HIDDEN)
    for reader, paths in (
        (ANYONE, {"rates-2024.md", "rates-2025.md"}),
        (HR, {f"rates-{n}.md" for n in (2024, 2025, 2026)}),
    ):
        scope = store.readable(("kb",), reader, PRICES).scope
        assert {item.path for item in store.documents_by_id(sorted(scope.document_ids or ())).values()} == paths
        assert {item.document.path for item in retrieve(store, reader, PRICES).candidates} == paths
    store.restrict("kb", ("staff",))
    assert retrieve(store, HR, PRICES).candidates == ()


class RestrictingScorer:
    """Reads passages, and an admin changes the rules meanwhile."""

    def __init__(self, store: FactStore) -> None:
        self._store = store

    def score(self, query: str, texts: list[str]) -> list[float]:
        self._store.restrict("kb", ("hr",))
        return [1.0] * len(texts)


def test_neighbours_are_brought_in_for_those_only_who_may_read_them_by_then(make_store: MakeStore) -> None:
    paragraphs = [f"Paragraph {number} says this and that and quite a lot more of it. " * 3 for number in range(4)]
    store = make_store({"long.md": "# Long\n\n" + "\n\n".join([*paragraphs, "The zebra is in the last one."])})
    settings = SETTINGS.model_copy(update={"expand_neighbours": True, "max_chunks": 1, "relevance_floor": 0.0})
    reranker = Reranker(lambda: RestrictingScorer(store), settings)
    before = Retriever(store, settings).retrieve("zebra", ("kb",), ANYONE)
    during = Retriever(store, settings, reranker).retrieve("zebra", ("kb",), ANYONE)
    assert len(before.sources[0].chunks) > 1
    assert len(during.sources[0].chunks) == 1
    chunks = store.chunks_of(store.documents("kb")[0].document_id)
    assert store.chunks_beside(chunks[1:2], ANYONE) == []
    assert store.chunks_beside(chunks[1:2], HR) == [chunks[2], chunks[0]]
