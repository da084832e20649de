"""The words of ingest: parsed documents with locations, chunks, and what a search returns."""

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ingest.access.statements import Statement
from ingest.filters import SearchScope

Vectors = NDArray[np.float32]
"""Shape (rows, dimensions), each row of unit length."""


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of a document that is never mixed with its neighbours' locations.

    text: plain text; a table block has one row a line, and each row names its columns ("Price: 4 EUR; Size: small").
    heading_path: titles from the outside in, without the document's own title.
    location: where a reader finds it, for people: "page 3", "Sheet1!A1:D20", "slide 4", "" where headings say enough.
    """

    text: str
    heading_path: tuple[str, ...] = ()
    location: str = ""
    is_table: bool = False


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """tags, date (ISO 8601), supersedes: what the document says of itself; what it replaces is named by path.
    access: what it says about its readers, None where it says nothing. unread: its parts that could not be read
    (attachments, scanned pages), by their place in it.
    """

    title: str
    blocks: tuple[Block, ...]
    media_type: str
    tags: tuple[str, ...] = ()
    date: str = ""
    supersedes: tuple[str, ...] = ()
    access: Statement | None = None
    unread: "tuple[Failure, ...]" = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """The unit of retrieval and citation. `chunk_id` is derived from document, content, chunker and ordinal; it stays
    when the document is renamed.
    """

    chunk_id: str
    document_id: str
    ordinal: int
    text: str
    heading_path: tuple[str, ...]
    location: str
    num_tokens: int

    @property
    def heading(self) -> str:
        return " > ".join(self.heading_path)


@dataclass(frozen=True, slots=True)
class Document:
    """A catalog row. `document_id` depends on knowledge base and path only, so links survive edits."""

    document_id: str
    knowledge_base: str
    path: str
    title: str
    media_type: str
    content_hash: str
    num_chunks: int
    modified_unix_seconds: int
    indexed_unix_seconds: int


@dataclass(frozen=True, slots=True)
class IndexedChunk:
    """A chunk together with what the indexes need to know of its document. `access_label` has no default: a chunk
    that nobody labelled must not be taken for an open one.
    """

    chunk: Chunk
    knowledge_base: str
    title: str
    access_label: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be indexed. `reason` is one of a small set, `detail` is for a person."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk found by one search. `score` is that search's own (cosine similarity, or BM25 with larger = better)."""

    chunk_id: str
    score: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come. `stage` is "fetch" (pages), "compare" (which files changed) or "index"; counts: files."""

    stage: str
    num_done: int
    num_total: int
    path: str


@dataclass(frozen=True, slots=True)
class Parity:
    """Do catalog, vectors and words agree? `num_found` of `num_sampled` chunks found themselves by their own vector."""

    num_catalog: int
    num_vectors: int
    num_lexical: int
    num_sampled: int
    num_found: int

    @property
    def is_good(self) -> bool:
        return self.num_catalog == self.num_vectors == self.num_lexical and self.num_found == self.num_sampled


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What one run changed. `num_*` count documents; `dry_run` means that nothing was written.

    A renamed document counts neither as added nor as removed. outdated: ids of documents whose text is not what it was
    before, or not there any more.
    """

    run_id: str
    num_added: int
    num_changed: int
    num_removed: int
    num_unchanged: int
    num_chunks: int
    seconds: float
    dry_run: bool
    failures: tuple[Failure, ...] = field(default=())
    num_renamed: int = 0
    outdated: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        counts = f"+{self.num_added} ~{self.num_changed} -{self.num_removed}, {self.num_unchanged} unchanged"
        return f"{counts}, {self.num_renamed} renamed" if self.num_renamed else counts

    @property
    def is_change(self) -> bool:
        """What was cached of the documents may be out of date."""
        return bool(self.num_changed or self.num_removed or self.num_renamed)

    @property
    def row(self) -> dict[str, Any]:
        """As it is stored and shown: without `outdated`, which only caches ask for."""
        return {name: value for name, value in asdict(self).items() if name != "outdated"}


class Embedder(Protocol):
    """Text to unit vectors. Thread-safe. `identity` changes whenever equal text may get another vector."""

    identity: str
    dimensions: int
    max_tokens: int

    def embed(self, texts: list[str]) -> Vectors:
        """One row a text, in order. Longer texts are cut at `max_tokens`, so callers chunk first."""

    def count_tokens(self, text: str) -> int:
        """Length in the embedder's own word pieces, including the special ones that it adds."""


class VectorIndex(Protocol):
    """Chunks by vector. Writes return when they survive a killed process."""

    def upsert(self, chunks: list[IndexedChunk], vectors: Vectors) -> None:
        """Add or replace by chunk id; row k of `vectors` belongs to chunk k."""

    def delete(self, chunk_ids: list[str]) -> None:
        """Unknown ids are ignored."""

    def relabel(self, labels: dict[str, str]) -> None:
        """Set the access label by chunk id, without touching the vector. Unknown ids are ignored."""

    def reassign(self, chunks: list[IndexedChunk]) -> None:
        """These vectors belong to other documents now; unknown ids are ignored."""

    def search(self, vector: Vectors, knowledge_bases: tuple[str, ...], limit: int, scope: SearchScope) -> list[Hit]:
        """Best first by cosine similarity, at most `limit`, filtered inside the query. `vector` has shape (1, d)."""

    def fetch(self, chunk_ids: list[str]) -> dict[str, Vectors]:
        """The stored vectors, each of shape (1, d); unknown ids are left out."""

    def count(self) -> int: ...


class LexicalIndex(Protocol):
    """Chunks by words (BM25)."""

    def upsert(self, chunks: list[IndexedChunk]) -> None:
        """Add or replace by chunk id."""

    def delete(self, chunk_ids: list[str]) -> None: ...

    def search(self, query: str, knowledge_bases: tuple[str, ...], limit: int, scope: SearchScope) -> list[Hit]:
        """Best first, at most `limit`, filtered inside the query.

        Any characters are allowed in `query`, it is no query language.
        """

    def count(self) -> int: ...
