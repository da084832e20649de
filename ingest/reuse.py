"""Vectors that need not be computed again: an edited document keeps those of its unchanged chunks.

A changed access line, a corrected typo or a new section costs the embedding of what it changed, not of the document.
"""

from collections.abc import Sequence

import numpy as np

from ingest.catalog import Catalog, Entry
from ingest.chunk import ChunkSizes, embedding_text
from ingest.documents import Embedder, VectorIndex, Vectors


def known_vectors(
    catalog: Catalog, index: VectorIndex, entries: Sequence[Entry], sizes: ChunkSizes
) -> dict[str, Vectors]:
    """By embedding text, each of shape (1, d): of these documents as they are indexed now, by the same recipe."""
    recipes = {entry.document.document_id: entry.recipe for entry in entries}
    old = catalog.entries_by_id(list(recipes))
    titles = {key: entry.document.title for key, entry in old.items() if entry.recipe == recipes[key]}
    if not titles:
        return {}
    texts = {
        chunk.chunk_id: embedding_text(titles[chunk.document_id], chunk.heading_path, chunk.text, sizes)
        for chunk in catalog.chunks_of(list(titles))
    }
    return {texts[chunk_id]: vector for chunk_id, vector in index.fetch(list(texts)).items()}


def embed_new(texts: Sequence[str], known: dict[str, Vectors], embedder: Embedder) -> Vectors:
    """One row a text, in order; only what is not known is embedded."""
    new = [text for text in dict.fromkeys(texts) if text not in known]
    rows = dict(zip(new, embedder.embed(new), strict=True)) if new else {}
    return np.vstack([known[text] if text in known else rows[text] for text in texts])
