"""POST /v1/embeddings: the embedder that retrieval uses."""

import asyncio
import base64
from typing import Any

import numpy as np
from fastapi import APIRouter

from config.errors import BadRequestError
from ingest.documents import Embedder, Vectors
from server.api.context import KeyOf, ServicesOf
from server.api.schemas.embeddings import EmbeddingBody
from server.services import Services
from server.voices import model_not_found

router = APIRouter()


@router.post("/v1/embeddings")
async def create_embeddings(body: EmbeddingBody, services: ServicesOf, key: KeyOf) -> dict[str, Any]:
    if body.model != services.embedder_name:
        error = model_not_found(body.model)
        error.hint = f"Embeddings come from {services.embedder_name!r}."
        raise error
    return await asyncio.to_thread(_embed, body, services)


def _embed(body: EmbeddingBody, services: Services) -> dict[str, Any]:
    embedder = services.ready_facts().embedder
    texts = [_text(item, index, services) for index, item in enumerate(body.inputs)]
    num_tokens = [embedder.count_tokens(text) for text in texts]
    _check_lengths(num_tokens, embedder)
    vectors = _shortened(embedder.embed(texts), body.dimensions, embedder)
    rows = [
        {"object": "embedding", "index": index, "embedding": _encoded(vectors[index], body.encoding_format)}
        for index in range(len(texts))
    ]
    usage = {"prompt_tokens": sum(num_tokens), "total_tokens": sum(num_tokens)}
    return {"object": "list", "data": rows, "model": body.model, "usage": usage}


def _text(item: str | list[int], index: int, services: Services) -> str:
    """Token ids are the base model's, as everywhere in this API."""
    if isinstance(item, str):
        return item
    size = services.vocabulary.size
    if any(token >= size for token in item):
        raise BadRequestError(f"input[{index}] has a token beyond this model's vocabulary of {size}.", "input")
    return b"".join(services.vocabulary.piece(token) for token in item).decode("utf-8", "replace")


def _check_lengths(num_tokens: list[int], embedder: Embedder) -> None:
    """Cutting silently would give a vector of something else than was sent."""
    for index, count in enumerate(num_tokens):
        if count > embedder.max_tokens:
            raise BadRequestError(
                f"input[{index}] has {count} tokens; this embedder reads at most {embedder.max_tokens}.",
                "input",
                "context_length_exceeded",
                "Split it.",
            )


def _shortened(vectors: Vectors, dimensions: int | None, embedder: Embedder) -> Vectors:
    """The first dimensions, of unit length again."""
    if dimensions is None or dimensions == embedder.dimensions:
        return vectors
    if dimensions > embedder.dimensions:
        raise BadRequestError(f"dimensions = {dimensions} is more than {embedder.dimensions}.", "dimensions")
    cut = vectors[:, :dimensions]
    lengths = np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return np.asarray(cut / lengths, dtype=np.float32)


def _encoded(vector: Vectors, encoding: str | None) -> str | list[float]:
    """base64: little-endian float32."""
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    return [float(value) for value in vector]
