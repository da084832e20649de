"""Chunks by vector: an embedded Chroma directory, one collection for each embedder."""

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from ingest.documents import Hit, IndexedChunk, Vectors

FETCH_AT_ONCE = 500
QUERY_ATTEMPTS = 20
QUERY_PAUSE_SECONDS = 0.01
GONE_MEANWHILE = "Error finding id"


class ChromaIndex:
    """`VectorIndex` over Chroma. The caller owns the directory alone: a second process would lose records silently."""

    def __init__(self, path: Path, embedder_identity: str) -> None:
        import chromadb
        from chromadb.api.collection_configuration import CreateCollectionConfiguration, CreateHNSWConfiguration
        from chromadb.config import Settings

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
        for start in range(0, len(chunks), self._max_batch):
            part = chunks[start : start + self._max_batch]
            self._collection.upsert(
                ids=[item.chunk.chunk_id for item in part],
                embeddings=vectors[start : start + self._max_batch],
                metadatas=[_labels(item) for item in part],
            )

    def relabel(self, chunks: list[IndexedChunk]) -> None:
        for start in range(0, len(chunks), self._max_batch):
            part = chunks[start : start + self._max_batch]
            self._collection.update(
                ids=[item.chunk.chunk_id for item in part], metadatas=[_labels(item) for item in part]
            )

    def delete(self, chunk_ids: list[str]) -> None:
        for start in range(0, len(chunk_ids), self._max_batch):
            self._collection.delete(ids=chunk_ids[start : start + self._max_batch])

    def search(self, vector: Vectors, knowledge_bases: tuple[str, ...], limit: int) -> list[Hit]:
        if not knowledge_bases:
            return []
        where: Any = {"knowledge_base": {"$in": list(knowledge_bases)}}
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

    def count(self) -> int:
        return int(self._collection.count())

    def close(self) -> None:
        self._client.close()


def _labels(item: IndexedChunk) -> dict[str, str]:
    """By which a search is narrowed."""
    return {"knowledge_base": item.knowledge_base, "document_id": item.chunk.document_id}


def collection_name(embedder_identity: str) -> str:
    return "facts-" + hashlib.sha256(embedder_identity.encode()).hexdigest()[:16]
