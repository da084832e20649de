"""Which candidates become sources: relevance floor, duplicates, budget, a share for each document, neighbours. Pure.

Candidates are judged one by one in their order, and each leaves with a verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from config.settings import RetrievalSettings
from ingest.documents import Chunk, Document
from server.candidates import Candidate, RetrievedSource
from server.duplicates import Features, features_of, is_duplicate


@dataclass(frozen=True, slots=True)
class Packed:
    sources: tuple[RetrievedSource, ...]
    candidates: tuple[Candidate, ...]


def pack_sources(candidates: Sequence[Candidate], best_similarity: float, settings: RetrievalSettings) -> Packed:
    """Take candidates in order while they fit, each as a source of its own or as part of its neighbour's."""
    if settings.relevance_floor and best_similarity < settings.relevance_floor:
        return Packed((), tuple(replace(item, verdict="below floor") for item in candidates))
    packer = Packer(settings)
    judged = tuple(replace(item, verdict=packer.judge(item)) for item in candidates)
    return Packed(tuple(_source(number, group) for number, group in enumerate(packer.groups, 1)), judged)


def expand_sources(packed: Packed, beside: Sequence[Chunk], settings: RetrievalSettings) -> Packed:
    """Bring in chunks next to a source's own, of the same section, while tokens are left. The best source comes first.

    beside: the chunks directly before and after those of the sources.
    """
    taken = {chunk.chunk_id for source in packed.sources for chunk in source.chunks}
    num_left = settings.max_tokens - sum(source.num_tokens for source in packed.sources)
    sources: list[RetrievedSource] = []
    verdicts: dict[str, str] = {}
    for source in packed.sources:
        chunks = list(source.chunks)
        for chunk in (chunk for chunk in beside if _belongs(chunk, source)):
            if chunk.chunk_id not in taken and chunk.num_tokens <= num_left:
                num_left -= chunk.num_tokens
                taken.add(chunk.chunk_id)
                chunks.append(chunk)
                verdicts[chunk.chunk_id] = f"brought into source {source.number} by its neighbour"
        sources.append(_with_chunks(source, chunks))
    judged = (replace(item, verdict=verdicts.get(item.chunk.chunk_id, item.verdict)) for item in packed.candidates)
    return Packed(tuple(sources), tuple(judged))


def _belongs(chunk: Chunk, source: RetrievedSource) -> bool:
    return any(_adjoin(chunk, own) and chunk.heading_path == own.heading_path for own in source.chunks)


class Packer:
    """What was taken so far: a group of candidates for each source."""

    def __init__(self, settings: RetrievalSettings) -> None:
        self._settings = settings
        self._features: list[tuple[int, Features]] = []
        """Of each chunk taken, beside the number of its source."""
        self.groups: list[list[Candidate]] = []

    def judge(self, item: Candidate) -> str:
        """The verdict; the candidate joins a group where it is taken."""
        features = features_of(item.chunk, item.document)
        for number, other in self._features:
            if is_duplicate(features, other, self._settings.duplicate_similarity):
                return f"duplicate of source {number}"
        if refusal := self._refusal(item.chunk):
            return refusal
        beside = self._neighbour(item.chunk)
        if beside is None:
            self.groups.append([item])
        else:
            self.groups[beside - 1].append(item)
        self._features.append((beside or len(self.groups), features))
        return f"merged into source {beside}" if beside else f"source {len(self.groups)}"

    def _refusal(self, chunk: Chunk) -> str:
        """Why there is no room for it; empty where there is."""
        taken = [item.chunk for group in self.groups for item in group]
        num_same = sum(other.document_id == chunk.document_id for other in taken)
        num_tokens = sum(other.num_tokens for other in taken) + chunk.num_tokens
        if len(taken) >= self._settings.max_chunks or num_tokens > self._settings.max_tokens:
            return "over budget"
        return "over its document's share" if num_same >= self._settings.max_chunks_per_document else ""

    def _neighbour(self, chunk: Chunk) -> int | None:
        """The number of the source that the chunk adjoins."""
        for number, group in enumerate(self.groups, 1):
            if self._settings.merge_neighbours and any(_adjoin(item.chunk, chunk) for item in group):
                return number
        return None


def _adjoin(one: Chunk, other: Chunk) -> bool:
    return one.document_id == other.document_id and abs(one.ordinal - other.ordinal) == 1


def source_of(chunk: Chunk, document: Document) -> RetrievedSource:
    """As it is shown where it is the only one."""
    return _with_chunks(RetrievedSource(1, document, (), "", "", "", 0), [chunk])


def _source(number: int, group: Sequence[Candidate]) -> RetrievedSource:
    first = group[0]
    empty = RetrievedSource(number, first.document, (), "", "", "", 0, first.superseded_by)
    return _with_chunks(empty, [item.chunk for item in group])


def _with_chunks(source: RetrievedSource, found: Sequence[Chunk]) -> RetrievedSource:
    chunks = tuple(sorted(found, key=lambda chunk: chunk.ordinal))
    shared = _shared_path([chunk.heading_path for chunk in chunks])
    return replace(
        source,
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
