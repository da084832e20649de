"""The order of writes, by which a process killed at any point leaves nothing wrong that the next start cannot mend.

Catalog, chunks and words lie in one SQLite file and change in one transaction; vectors lie in another store. So:

    1. note the new vectors as doubtful      killed after 1 or 2: they are deleted at the next start,
    2. write the new vectors                 and the run that follows finds the file not indexed yet
    3. one transaction: document, chunks     <- the document becomes visible, whole
       and words, the new vectors are certain, the old ones are doubtful
    4. delete the old vectors, settle them   killed before 4: they are deleted at the next start

A document that was renamed keeps its chunks under their ids, its words and its vectors; only what says whose they are
changes: in SQLite, with a note of the vectors that say otherwise, then with those vectors. The next start finishes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ingest.access.keeper import AccessKeeper, DocumentAccess
from ingest.catalog import Catalog, Entry, FailedFile
from ingest.chunk import ChunkSizes, embedding_text
from ingest.documents import Chunk, Embedder, IndexedChunk, LexicalIndex, VectorIndex
from ingest.labels import Label, Labels
from ingest.reuse import embed_new, known_vectors
from ingest.tables import FactTables


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document ready to be written."""

    entry: Entry
    chunks: tuple[Chunk, ...]
    access: DocumentAccess
    labels: frozenset[Label] = frozenset()

    @property
    def indexed_chunks(self) -> list[IndexedChunk]:
        document = self.entry.document
        label = self.access.label.name
        return [IndexedChunk(chunk, document.knowledge_base, document.title, label) for chunk in self.chunks]


@dataclass(frozen=True, slots=True)
class Moved:
    """A document under its new id and path, and the id that it had."""

    old_id: str
    entry: Entry
    access: DocumentAccess
    labels: frozenset[Label]


class IndexWriter:
    """The only writer of the catalog and both indexes. One thread at a time."""

    def __init__(
        self,
        tables: FactTables,
        catalog: Catalog,
        vectors: VectorIndex,
        lexical: LexicalIndex,
        embedder: Embedder,
        access: AccessKeeper,
        labels: Labels,
    ) -> None:
        self._tables = tables
        self._catalog = catalog
        self._vectors = vectors
        self._lexical = lexical
        self._embedder = embedder
        self._access = access
        self._labels = labels

    def heal(self) -> int:
        """Finish what a killed process left behind. Returns how many vectors were in doubt."""
        doubtful = self._catalog.doubtful()
        self._drop(doubtful)
        self._relabel(self._catalog.mislabelled())
        self._access.heal()
        return len(doubtful)

    def write(self, batch: Sequence[Prepared], sizes: ChunkSizes) -> None:
        """Add or replace these documents. They become visible together."""
        chunks = [item for prepared in batch for item in prepared.indexed_chunks]
        texts = [embedding_text(item.title, item.chunk.heading_path, item.chunk.text, sizes) for item in chunks]
        new_ids = [item.chunk.chunk_id for item in chunks]
        self._catalog.doubt(new_ids)
        if chunks:
            known = known_vectors(self._catalog, self._vectors, [prepared.entry for prepared in batch], sizes)
            self._vectors.upsert(chunks, embed_new(texts, known, self._embedder))
        document_ids = [prepared.entry.document.document_id for prepared in batch]
        with self._tables.transaction():
            old_ids = self._hide(document_ids, keep=frozenset(new_ids))
            for prepared in batch:
                self._catalog.put(prepared.entry, prepared.chunks)
                self._access.put(prepared.entry.document.document_id, prepared.access)
                self._labels.put(prepared.entry.document.document_id, prepared.labels)
            self._lexical.upsert(chunks)
            self._catalog.settle(new_ids)
        self._drop(old_ids)

    def move(self, batch: Sequence[Moved]) -> None:
        """Give documents their new places. Nothing is computed; their old ids lead to the new ones."""
        with self._tables.transaction():
            for moved in batch:
                document_id = moved.entry.document.document_id
                self._catalog.move(moved.old_id, moved.entry)
                self._access.move(document_id, moved.access)
                self._labels.put(document_id, moved.labels)
        self._relabel(self._catalog.mislabelled())
        self._access.heal()

    def redirect(self, old_id: str, old_path: str, new_id: str, path: str) -> None:
        """Remove a document whose successor at another place is indexed in the same run."""
        with self._tables.transaction():
            self._catalog.redirect(old_id, new_id)
            self._access.carry(old_id, old_path, new_id, path)
        self.remove([old_id])

    def labels_of(self, document_id: str) -> frozenset[Label]:
        return self._labels.of_document(document_id)

    def remove(self, document_ids: Sequence[str]) -> None:
        with self._tables.transaction():
            old_ids = self._hide(document_ids, keep=frozenset())
            self._catalog.remove(document_ids)
        self._drop(old_ids)

    def fail(self, knowledge_base: str, failed: FailedFile, document_ids: Sequence[str]) -> None:
        """Record a refused file; what is indexed of an earlier state of it goes, as it can no longer be checked."""
        with self._tables.transaction():
            self._catalog.put_failure(knowledge_base, failed)
            old_ids = self._hide(document_ids, keep=frozenset())
            self._catalog.remove(document_ids)
        self._drop(old_ids)

    def _hide(self, document_ids: Sequence[str], keep: frozenset[str]) -> list[str]:
        """Inside a transaction: take the documents' words out and note their vectors as doubtful, except `keep`."""
        chunk_ids = [chunk.chunk_id for chunk in self._catalog.chunks_of(document_ids)]
        old_ids = [chunk_id for chunk_id in chunk_ids if chunk_id not in keep]
        self._lexical.delete(old_ids)
        self._catalog.doubt(old_ids)
        return old_ids

    def _drop(self, chunk_ids: list[str]) -> None:
        if chunk_ids:
            self._vectors.delete(chunk_ids)
            self._catalog.settle(chunk_ids)

    def _relabel(self, chunk_ids: list[str]) -> None:
        if not chunk_ids:
            return
        chunks = self._catalog.chunks(chunk_ids)
        documents = self._catalog.documents(list({chunk.document_id for chunk in chunks.values()}))
        labels = self._access.labels_of(list(documents))
        owned = [(chunk, documents[chunk.document_id]) for chunk in chunks.values()]
        self._vectors.reassign(
            [
                IndexedChunk(chunk, owner.knowledge_base, owner.title, labels[owner.document_id])
                for chunk, owner in owned
            ]
        )
        self._catalog.settle_labels(chunk_ids)
