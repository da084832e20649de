"""Facts for one question: two searches, rank fusion, a relevance floor, a token budget, neighbours put together.

Deciding is pure (`fuse`, `pack_sources`); the `Retriever` only fetches. Every candidate leaves with a verdict, so that
a person can see what was taken, what was cut, and why.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from config.settings import RetrievalSettings
from ingest.access.reader import ANYONE, Reader, Requirement
from ingest.documents import Chunk, Document, Hit
from ingest.store import FactStore


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that a search found. Ranks count from 1; None where that search did not find it.

    verdict: "source 1", "merged into source 2", "over budget", "below floor" or "duplicate of source 1".
    """

    chunk: Chunk
    document: Document
    dense_rank: int | None
    dense_score: float | None
    lexical_rank: int | None
    lexical_score: float | None
    fused_rank: int
    fused_score: float
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class RetrievedSource:
    """What the model sees under one number: a chunk, or adjoining ones of one document in reading order.

    requirement: what the document asks of its readers, by which cached prompts are kept apart.
    """

    number: int
    document: Document
    chunks: tuple[Chunk, ...]
    heading: str
    location: str
    text: str
    num_tokens: int
    requirement: Requirement = ()


@dataclass(frozen=True, slots=True)
class Retrieval:
    """best_similarity: cosine of the best dense hit, 0 where there is none; below the floor `sources` is empty."""

    query: str
    sources: tuple[RetrievedSource, ...]
    candidates: tuple[Candidate, ...]
    best_similarity: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Fused:
    """One chunk in both result lists."""

    chunk_id: str
    dense_rank: int | None
    dense_score: float | None
    lexical_rank: int | None
    lexical_score: float | None
    score: float


@dataclass(frozen=True, slots=True)
class Packed:
    sources: tuple[RetrievedSource, ...]
    candidates: tuple[Candidate, ...]


class Retriever:
    """Searches one store. Synchronous and thread-safe: it holds no state of its own."""

    def __init__(self, store: FactStore, settings: RetrievalSettings) -> None:
        self._store = store
        self._settings = settings

    def retrieve(self, query: str, knowledge_bases: tuple[str, ...], reader: Reader = ANYONE) -> Retrieval:
        """The best sources in these knowledge bases that the reader may see; documents that are just being removed are
        passed over. Without a reader: what is open to everybody.
        """
        started = time.monotonic()
        limit = self._settings.candidates
        readable = self._store.readable(knowledge_bases, reader)
        bases, chosen = readable.knowledge_bases, readable.search_filter
        dense = self._store.search_dense(query, bases, limit, chosen) if query.strip() else []
        lexical = self._store.search_lexical(query, bases, limit, chosen)
        candidates = self._candidates(fuse(dense, lexical, self._settings))
        best = max((hit.score for hit in dense), default=0.0)
        packed = pack_sources(candidates, best, self._settings)
        sources = self._with_requirements(packed.sources)
        return Retrieval(query, sources, packed.candidates, best, time.monotonic() - started)

    def _with_requirements(self, sources: Sequence[RetrievedSource]) -> tuple[RetrievedSource, ...]:
        """A document that has gone meanwhile counts as one that nobody may read."""
        asked = self._store.requirements([source.document.document_id for source in sources])
        return tuple(replace(item, requirement=asked.get(item.document.document_id, ((),))) for item in sources)

    def _candidates(self, fused: Sequence[Fused]) -> list[Candidate]:
        chunks = self._store.chunks([item.chunk_id for item in fused])
        documents = self._store.documents_by_id(sorted({chunk.document_id for chunk in chunks.values()}))
        return join_candidates(fused, chunks, documents)


def fuse(dense: Sequence[Hit], lexical: Sequence[Hit], settings: RetrievalSettings) -> list[Fused]:
    """Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009), best first.

    A chunk scores weight / (constant + rank) in each list that holds it; equal scores go by the dense rank.
    """
    dense_ranks = {hit.chunk_id: rank for rank, hit in enumerate(dense, 1)}
    lexical_ranks = {hit.chunk_id: rank for rank, hit in enumerate(lexical, 1)}
    dense_scores = {hit.chunk_id: hit.score for hit in dense}
    lexical_scores = {hit.chunk_id: hit.score for hit in lexical}
    fused = [
        Fused(
            chunk_id=chunk_id,
            dense_rank=dense_ranks.get(chunk_id),
            dense_score=dense_scores.get(chunk_id),
            lexical_rank=lexical_ranks.get(chunk_id),
            lexical_score=lexical_scores.get(chunk_id),
            score=_share(dense_ranks.get(chunk_id), settings.dense_weight, settings.fusion_constant)
            + _share(lexical_ranks.get(chunk_id), settings.lexical_weight, settings.fusion_constant),
        )
        for chunk_id in dict.fromkeys([*dense_ranks, *lexical_ranks])
    ]
    return sorted(fused, key=lambda item: -item.score)


def _share(rank: int | None, weight: float, constant: int) -> float:
    return weight / (constant + rank) if rank is not None else 0.0


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


def pack_sources(candidates: Sequence[Candidate], best_similarity: float, settings: RetrievalSettings) -> Packed:
    """Take candidates in order while they fit, each as a source of its own or as part of its neighbour's."""
    if best_similarity < settings.relevance_floor:
        return Packed((), tuple(replace(item, verdict="below floor") for item in candidates))
    groups: list[list[Candidate]] = []
    judged: list[Candidate] = []
    for item in candidates:
        verdict = _judge(item, groups, settings)
        judged.append(replace(item, verdict=verdict))
    sources = tuple(_source(number, group) for number, group in enumerate(groups, 1))
    return Packed(sources, tuple(judged))


def _judge(item: Candidate, groups: list[list[Candidate]], settings: RetrievalSettings) -> str:
    """The verdict; the candidate joins `groups` where it is taken."""
    taken = [candidate for group in groups for candidate in group]
    text = item.chunk.text.strip()
    for number, group in enumerate(groups, 1):
        if any(candidate.chunk.text.strip() == text for candidate in group):
            return f"duplicate of source {number}"
    num_tokens = sum(candidate.chunk.num_tokens for candidate in taken) + item.chunk.num_tokens
    if len(taken) >= settings.max_chunks or num_tokens > settings.max_tokens:
        return "over budget"
    for number, group in enumerate(groups, 1):
        if settings.merge_neighbours and any(_adjoin(candidate.chunk, item.chunk) for candidate in group):
            group.append(item)
            return f"merged into source {number}"
    groups.append([item])
    return f"source {len(groups)}"


def _adjoin(one: Chunk, other: Chunk) -> bool:
    return one.document_id == other.document_id and abs(one.ordinal - other.ordinal) == 1


def _source(number: int, group: Sequence[Candidate]) -> RetrievedSource:
    chunks = tuple(sorted((item.chunk for item in group), key=lambda chunk: chunk.ordinal))
    shared = _shared_path([chunk.heading_path for chunk in chunks])
    return RetrievedSource(
        number=number,
        document=group[0].document,
        chunks=chunks,
        heading=" > ".join(shared),
        location=", ".join(dict.fromkeys(chunk.location for chunk in chunks if chunk.location)),
        text=_text(chunks, len(shared)),
        num_tokens=sum(chunk.num_tokens for chunk in chunks),
    )


def _shared_path(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    alike = takewhile(lambda titles: len(set(titles)) == 1, zip(*paths, strict=False))
    return tuple(titles[0] for titles in alike)


def _text(chunks: Sequence[Chunk], num_shared: int) -> str:
    """Chunks one below the other; where the headings change, the part that is not shared stands above its text."""
    parts: list[str] = []
    shown: tuple[str, ...] = ()
    for chunk in chunks:
        own = chunk.heading_path[num_shared:]
        if own != shown:
            parts += [" > ".join(own)] if own else []
            shown = own
        parts.append(chunk.text)
    return "\n".join(parts)
