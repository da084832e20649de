"""Text to unit vectors: the real embedder from a sentence-transformers folder, and a predictable one for tests."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from config.errors import ModelError
from ingest.documents import Embedder, Vectors


class SentenceEmbedder:
    """A sentence-transformers model on the CPU.

    Texts are tokenized once, sorted by length and run in batches that are padded only to their own longest text.
    Thread-safe: the tokenizers are never reconfigured after construction, and inference holds no state.
    """

    def __init__(self, model: Any, identity: str, batch: int) -> None:
        self._model = model
        self._batch = batch
        self.identity = identity
        self.dimensions = int(model.get_embedding_dimension())
        self.max_tokens = int(model.max_seq_length)
        self._counter = _plain_tokenizer(model)
        self._cutter = _plain_tokenizer(model)
        self._cutter.enable_truncation(self.max_tokens)
        self._padding = int(model.tokenizer.pad_token_id or 0)

    def embed(self, texts: list[str]) -> Vectors:
        rows = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        encoded = [encoding.ids for encoding in self._cutter.encode_batch(texts)]
        order = sorted(range(len(texts)), key=lambda index: len(encoded[index]))
        for start in range(0, len(order), self._batch):
            batch = order[start : start + self._batch]
            rows[batch] = self._forward([encoded[index] for index in batch])
        return rows

    def count_tokens(self, text: str) -> int:
        return len(self._counter.encode(text).ids)

    def _forward(self, batch: list[list[int]]) -> Vectors:
        import torch

        width = max(len(ids) for ids in batch)
        ids = torch.full((len(batch), width), self._padding, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        with torch.inference_mode():
            output = self._model({"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)})
            vectors = torch.nn.functional.normalize(output["sentence_embedding"].float(), dim=1)
        result: Vectors = vectors.numpy()
        return result


def load_embedder(path: Path, threads: int, batch: int = 32) -> Embedder:
    """Load the model in folder `path`, without any network. `threads` bounds torch's threads in this whole process;
    `batch` texts are computed at once.

    Raises ModelError where the folder holds no such model.
    """
    os.environ.update(
        HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", HF_HUB_DISABLE_PROGRESS_BARS="1"
    )
    weights = _weights(path)
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    try:
        model = SentenceTransformer(str(path), device="cpu", local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"The embedder in {path} cannot be loaded ({error}).", "Check models.embedder.") from error
    model.eval()
    return SentenceEmbedder(model, f"{path.name}-{model.max_seq_length}-{_hash_of(weights)}", batch)


def _weights(path: Path) -> Path:
    """The weights' file. Pickled weights are not accepted, as loading them can run code."""
    for found in sorted(path.glob("**/model.safetensors")) if path.is_dir() else []:
        return found
    raise ModelError(
        f"There is no embedder in {path}: it has no model.safetensors.",
        "Set models.embedder to a sentence-transformers folder with safetensors weights.",
    )


def _hash_of(weights: Path) -> str:
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def _plain_tokenizer(model: Any) -> Any:
    """A copy of the fast tokenizer without padding or cutting; the copy keeps settings apart between its users."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


class HashEmbedder:
    """Predictable: counts of hashed words. Texts with the same words in any order are equal, others are nearly not."""

    def __init__(self, dimensions: int = 256, max_tokens: int = 256) -> None:
        self.identity = f"hash-{dimensions}-{max_tokens}"
        self.dimensions = dimensions
        self.max_tokens = max_tokens

    def embed(self, texts: list[str]) -> Vectors:
        rows = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in _words(text) or [""]:
                row[_bucket(word, self.dimensions)] += 1
        unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def count_tokens(self, text: str) -> int:
        """Words and punctuation marks, and two special ones. A word counts once for each ten characters begun."""
        return sum(-(-len(word) // 10) for word in re.findall(r"\w+|[^\w\s]", text)) + 2


def _words(text: str) -> list[str]:
    return [word.lower() for word in re.findall(r"\w+", text)]


def _bucket(word: str, dimensions: int) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big") % dimensions
