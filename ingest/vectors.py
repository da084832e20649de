"""Chunks by vector: an embedded Chroma directory, one collection for each embedder."""

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from ingest.disk import ROOM_BYTES, require_room
from ingest.documents import Hit, IndexedChunk, Vectors
from ingest.filters import UNRESTRICTED, SearchScope

ACCESS = "access"
"""Metadata key of the access label."""

FETCH_AT_ONCE = 500
FILTER_AT_ONCE = 10_000
"""Document ids in one filter: SQLite, in which Chroma looks them up, takes 32,766 values in a query."""

FILTERED_FIRST = 5_000
"""Chunks up to which Chroma's own filter is used at once; it takes 5 ms for each thousand chunks that pass."""

WIDENINGS = (1, 4, 16)
"""Times the wanted number of hits, before the filter is used after all."""

QUERY_ATTEMPTS = 20
QUERY_PAUSE_SECONDS = 0.01
GONE_MEANWHILE = "Error finding id"


class ChromaIndex:
    """`VectorIndex` over Chroma. The caller owns the directory alone: a second process would lose records silently."""

    def __init__(self, path: Path, embedder_identity: str) -> None:
        import chromadb
        from chromadb.api.collection_configuration import CreateCollectionConfiguration, CreateHNSWConfiguration
        from chromadb.config import Settings

        if not path.exists():
            require_room(path.parent)
        self._path = path
        self._client: Any = chromadb.PersistentClient(str(path), settings=Settings(anonymized_telemetry=False))
        self._collection = self._client.get_or_create_collection(
            collection_name(embedder_identity),
            configuration=CreateCollectionConfiguration(
                hnsw=CreateHNSWConfiguration(space="cosine", ef_construction=200, ef_search=200, max_neighbors=24)
            ),
            metadata={"embedder": embedder_identity},
            embedding_function=None,
        )
        self._max_batch: int = self._client.get_max_batch_size()
        self._size = self.count()

    def upsert(self, chunks: list[IndexedChunk], vectors: Vectors) -> None:
        require_room(self._path, ROOM_BYTES + 4 * vectors.nbytes)
        for start in range(0, len(chunks), self._max_batch):
            part = chunks[start : start + self._max_batch]
            self._collection.upsert(
                ids=[item.chunk.chunk_id for item in part],
                embeddings=vectors[start : start + self._max_batch],
                metadatas=[_metadata(item) for item in part],
            )
        self._size = self.count()

    def reassign(self, chunks: list[IndexedChunk]) -> None:
        for start in range(0, len(chunks), self._max_batch):
            part = chunks[start : start + self._max_batch]
            self._collection.update(
                ids=[item.chunk.chunk_id for item in part], metadatas=[_metadata(item) for item in part]
            )

    def delete(self, chunk_ids: list[str]) -> None:
        require_room(self._path)
        for start in range(0, len(chunk_ids), self._max_batch):
            self._collection.delete(ids=chunk_ids[start : start + self._max_batch])
        self._size = self.count()

    def relabel(self, labels: dict[str, str]) -> None:
        chunk_ids = list(labels)
        for start in range(0, len(chunk_ids), self._max_batch):
            part = chunk_ids[start : start + self._max_batch]
            self._collection.update(ids=part, metadatas=[{ACCESS: labels[chunk_id]} for chunk_id in part])

    def search(
        self,
        vector: Vectors,
        knowledge_bases: tuple[str, ...],
        limit: int,
        scope: SearchScope = UNRESTRICTED,
    ) -> list[Hit]:
        if not knowledge_bases or scope.holds_nothing:
            return []
        widely = self._search_widely(vector, knowledge_bases, limit, scope) if self._size > FILTERED_FIRST else None
        if widely is not None:
            return widely
        found = [self._search(vector, limit, where) for where in where_clauses(knowledge_bases, scope)]
        return sorted((hit for hits in found for hit in hits), key=lambda hit: -hit.score)[:limit]

    def _search_widely(
        self, vector: Vectors, knowledge_bases: tuple[str, ...], limit: int, scope: SearchScope
    ) -> list[Hit] | None:
        """The nearest of all, wider and wider, until as many as are wanted lie in the scope: the same hits as with a
        filter, which Chroma first turns into a list of all chunks that pass. None where the scope is too narrow.
        """
        for factor in WIDENINGS:
            wanted = min(limit * factor, self._size)
            found = self._query(vector, wanted, None, ["distances", "metadatas"])
            rows = zip(found["ids"][0], found["distances"][0], found["metadatas"][0], strict=True)
            hits = [
                Hit(key, 1.0 - distance) for key, distance, labels in rows if _lies_in(labels, knowledge_bases, scope)
            ]
            if len(hits) >= limit or wanted == self._size:
                return hits[:limit]
        return None

    def _search(self, vector: Vectors, limit: int, where: Any) -> list[Hit]:
        found = self._query(vector, limit, where, ["distances"])
        distances = found["distances"] or [[]]
        return [Hit(chunk_id, 1.0 - distance) for chunk_id, distance in zip(found["ids"][0], distances[0], strict=True)]

    def _query(self, vector: Vectors, limit: int, where: Any, include: list[Any]) -> Any:
        """While another thread deletes, Chroma may look up a neighbour that is gone already, and fail. The failure says
        nothing about the rest, and is over as soon as that deletion is.
        """
        from chromadb.errors import InternalError

        for _ in range(QUERY_ATTEMPTS - 1):
            try:
                return self._collection.query(vector, n_results=limit, where=where, include=include)
            except InternalError as error:
                if GONE_MEANWHILE not in str(error):
                    raise
            time.sleep(QUERY_PAUSE_SECONDS)
        return self._collection.query(vector, n_results=limit, where=where, include=include)

    def fetch(self, chunk_ids: list[str]) -> dict[str, Vectors]:
        vectors: dict[str, Vectors] = {}
        for start in range(0, len(chunk_ids), FETCH_AT_ONCE):
            found: Any = self._collection.get(ids=chunk_ids[start : start + FETCH_AT_ONCE], include=["embeddings"])
            for chunk_id, row in zip(found["ids"], found["embeddings"], strict=True):
                vectors[chunk_id] = np.asarray(row, dtype=np.float32).reshape(1, -1)
        return vectors

    def ids(self) -> list[str]:
        """Of everything stored."""
        return list(self._collection.get(include=[])["ids"])

    def count(self) -> int:
        return int(self._collection.count())

    def close(self) -> None:
        self._client.close()


def where_clauses(knowledge_bases: tuple[str, ...], scope: SearchScope) -> list[Any]:
    """Chroma's filters, together the scope. A chunk without an access label passes none that names labels."""
    shared: list[Any] = [{"knowledge_base": {"$in": list(knowledge_bases)}}]
    if scope.readable_labels is not None:
        shared.append({ACCESS: {"$in": sorted(scope.readable_labels)}})
    if scope.document_ids is None:
        return [_all_of(shared)]
    ids = sorted(scope.document_ids)
    parts = [ids[start : start + FILTER_AT_ONCE] for start in range(0, len(ids), FILTER_AT_ONCE)]
    return [_all_of([*shared, {"document_id": {"$in": part}}]) for part in parts]


def _lies_in(labels: Any, knowledge_bases: tuple[str, ...], scope: SearchScope) -> bool:
    """What `where_clauses` says, of one chunk's metadata."""
    readable, chosen = scope.readable_labels, scope.document_ids
    return (
        labels["knowledge_base"] in knowledge_bases
        and (readable is None or labels.get(ACCESS) in readable)
        and (chosen is None or labels["document_id"] in chosen)
    )


def _all_of(conditions: list[Any]) -> Any:
    """Chroma takes $and for two or more only."""
    return {"$and": conditions} if len(conditions) > 1 else conditions[0]


def _metadata(item: IndexedChunk) -> dict[str, str]:
    return {
        "knowledge_base": item.knowledge_base,
        "document_id": item.chunk.document_id,
        ACCESS: item.access_label,
    }


def collection_name(embedder_identity: str) -> str:
    return "facts-" + hashlib.sha256(embedder_identity.encode()).hexdigest()[:16]
