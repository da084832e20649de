"""Facts for one question: what may be searched, two searches, score fusion, reranking, newest versions first, packing.

Deciding is pure (`fuse`, `prefer_newest`, `pack_sources`); the `Retriever` only fetches. Every candidate leaves with a
verdict, so that a person can see what was taken, what was cut, and why.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from config.settings import RetrievalSettings
from ingest.access.reader import ANYONE, Reader
from ingest.documents import Chunk, Document, Hit
from ingest.filters import EVERYTHING, SearchFilter, SearchScope
from ingest.store import FactStore
from server.candidates import Candidate, RetrievedSource
from server.newest import prefer_newest
from server.packing import Packed, expand_sources, pack_sources
from server.reranking import Reranked, Reranker


@dataclass(frozen=True, slots=True)
class Retrieval:
    """best_similarity: cosine of the best dense hit, 0 where there is none; below the floor `sources` is empty.

    generation: of the index that was searched, None for a store outside of generations.
    reranking: what became of it, see `server.reranking`; "" where no reranker is set.
    """

    query: str
    sources: tuple[RetrievedSource, ...]
    candidates: tuple[Candidate, ...]
    best_similarity: float
    seconds: float
    generation: int | None = None
    reranking: str = ""
    floor: float = 0.0


@dataclass(frozen=True, slots=True)
class Fused:
    """One chunk in both result lists."""

    chunk_id: str
    dense_rank: int | None
    dense_score: float | None
    lexical_rank: int | None
    lexical_score: float | None
    score: float


class Retriever:
    """Searches one store. Synchronous and thread-safe: it holds no state of its own."""

    def __init__(self, store: FactStore, settings: RetrievalSettings, reranker: Reranker | None = None) -> None:
        self._store = store
        self._settings = settings
        self._reranker = reranker

    def retrieve(
        self,
        query: str,
        knowledge_bases: tuple[str, ...],
        reader: Reader = ANYONE,
        search_filter: SearchFilter = EVERYTHING,
    ) -> Retrieval:
        """The best sources in these knowledge bases that the reader may see and that pass the filter; documents that
        are just being removed are passed over. Without a reader: what is open to everybody.
        """
        started = time.monotonic()
        limit = self._settings.candidates
        readable = self._store.readable(knowledge_bases, reader, search_filter)
        bases, scope = readable.knowledge_bases, readable.scope
        dense, lexical = self._store.search_both(query, bases, limit, scope)
        found = self._candidates(fuse(dense, lexical, self._settings))
        best = max((hit.score for hit in dense), default=0.0)
        reranked = self._reranker.rerank(query, found) if self._reranker else Reranked(found, "")
        candidates = self._newest_first(reranked.candidates, query, reader, scope)
        packed = self._expanded(pack_sources(candidates, best, self._settings), reader)
        sources = self._with_requirements(packed.sources)
        seconds = time.monotonic() - started
        return Retrieval(
            query,
            sources,
            packed.candidates,
            best,
            seconds,
            reranking=reranked.outcome,
            floor=self._settings.relevance_floor,
        )

    def _expanded(self, packed: Packed, reader: Reader) -> Packed:
        if not self._settings.expand_neighbours:
            return packed
        taken = [chunk for source in packed.sources for chunk in source.chunks]
        return expand_sources(packed, self._store.chunks_beside(taken, reader), self._settings)

    def _with_requirements(self, sources: Sequence[RetrievedSource]) -> tuple[RetrievedSource, ...]:
        """A document that has gone meanwhile counts as one that nobody may read."""
        asked = self._store.requirements([source.document.document_id for source in sources])
        return tuple(replace(item, requirement=asked.get(item.document.document_id, ((),))) for item in sources)

    def _candidates(self, fused: Sequence[Fused]) -> list[Candidate]:
        chunks = self._store.chunks([item.chunk_id for item in fused])
        documents = self._store.documents_by_id(sorted({chunk.document_id for chunk in chunks.values()}))
        return join_candidates(fused, chunks, documents)

    def _newest_first(
        self, candidates: Sequence[Candidate], query: str, reader: Reader, scope: SearchScope
    ) -> list[Candidate]:
        document_ids = sorted({item.document.document_id for item in candidates})
        newer = self._store.newer_versions(document_ids, reader, scope.document_ids)
        return prefer_newest(candidates, newer, query)


def fuse(dense: Sequence[Hit], lexical: Sequence[Hit], settings: RetrievalSettings) -> list[Fused]:
    """Weighted sum of cosine similarity and BM25, best first; equal scores go by the dense rank.

    Both are on scales of their own that mean the same for every question: BM25 is a sum of log odds (Robertson and
    Zaragoza 2009), and cosine times a constant is what the embedder was trained to make one. So they are added as they
    are. Dividing by a question's best score (Bruch, Gai and Ingber, TOIS 2023) would give words that tell little the
    weight of words that tell much; ranks alone (Cormack, Clarke and Buettcher, SIGIR 2009) forget both.
    """
    dense_ranks = {hit.chunk_id: rank for rank, hit in enumerate(dense, 1)}
    lexical_ranks = {hit.chunk_id: rank for rank, hit in enumerate(lexical, 1)}
    dense_scores = {hit.chunk_id: hit.score for hit in dense}
    lexical_scores = {hit.chunk_id: hit.score for hit in lexical}
    dense_rest = _rest_score(dense, settings.candidates)
    lexical_rest = _rest_score(lexical, settings.candidates)
    fused = [
        Fused(
            chunk_id=chunk_id,
            dense_rank=dense_ranks.get(chunk_id),
            dense_score=dense_scores.get(chunk_id),
            lexical_rank=lexical_ranks.get(chunk_id),
            lexical_score=lexical_scores.get(chunk_id),
            score=settings.dense_weight * dense_scores.get(chunk_id, dense_rest)
            + settings.lexical_weight * lexical_scores.get(chunk_id, lexical_rest),
        )
        for chunk_id in dict.fromkeys([*dense_ranks, *lexical_ranks])
    ]
    return sorted(fused, key=lambda item: -item.score)


def _rest_score(hits: Sequence[Hit], limit: int) -> float:
    """For what a search did not return: its last score where it was cut there, as nothing below has more; else 0."""
    return hits[-1].score if len(hits) >= limit else 0.0


def join_candidates(
    fused: Sequence[Fused], chunks: Mapping[str, Chunk], documents: Mapping[str, Document]
) -> list[Candidate]:
    """With their text; what has gone since the search is left out."""
    known = [item for item in fused if item.chunk_id in chunks and chunks[item.chunk_id].document_id in documents]
    return [
        Candidate(
            chunk=chunks[item.chunk_id],
            document=documents[chunks[item.chunk_id].document_id],
            dense_rank=item.dense_rank,
            dense_score=item.dense_score,
            lexical_rank=item.lexical_rank,
            lexical_score=item.lexical_score,
            fused_rank=rank,
            fused_score=item.score,
        )
        for rank, item in enumerate(known, 1)
    ]
