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

    def upsert(self, chunks: list[IndexedChunk], vectors: Vectors) -> None:
        require_room(self._path, ROOM_BYTES + 4 * vectors.nbytes)
        for start in range(0, len(chunks), self._max_batch):
            part = chunks[start : start + self._max_batch]
            self._collection.upsert(
                ids=[item.chunk.chunk_id for item in part],
                embeddings=vectors[start : start + self._max_batch],
                metadatas=[_metadata(item) for item in part],
            )

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
        found = [self._search(vector, limit, where) for where in where_clauses(knowledge_bases, scope)]
        return sorted((hit for hits in found for hit in hits), key=lambda hit: -hit.score)[:limit]

    def _search(self, vector: Vectors, limit: int, where: Any) -> list[Hit]:
        found = self._query(vector, limit, where)
        distances = found["distances"] or [[]]
        return [Hit(chunk_id, 1.0 - distance) for chunk_id, distance in zip(found["ids"][0], distances[0], strict=True)]

    def _query(self, vector: Vectors, limit: int, where: Any) -> Any:
        """While another thread deletes, Chroma may look up a neighbour that is gone already, and fail. The failure says
        nothing about the rest, and is over as soon as that deletion is.
        """
        from chromadb.errors import InternalError

        for _ in range(QUERY_ATTEMPTS - 1):
            try:
                return self._collection.query(vector, n_results=limit, where=where, include=["distances"])
            except InternalError as error:
                if GONE_MEANWHILE not in str(error):
                    raise
            time.sleep(QUERY_PAUSE_SECONDS)
        return self._collection.query(vector, n_results=limit, where=where, include=["distances"])

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
