"""Text to unit vectors: the real embedder from a sentence-transformers folder, and a predictable one for tests."""

import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from config.errors import ModelError
from ingest.documents import Embedder, Vectors
from ingest.int8 import Forward, Ids, int8_forward


class SentenceEmbedder:
    """A sentence-transformers model on the CPU.

    Texts are tokenized once, sorted by length and run in batches that are padded only to their own longest text. A
    batch is one thread's: threads that share one wait for each other at every layer. Thread-safe: the tokenizers are
    never reconfigured after construction, and inference holds no state.
    """

    def __init__(self, model: Any, identity: str, batch: int, threads: int) -> None:
        self._run: Forward = partial(_run_torch, model)
        self._batch = batch
        self._threads = ThreadPoolExecutor(threads, "embed")
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
        order = sorted(range(len(texts)), key=lambda index: -len(encoded[index]))
        batches = [order[start : start + self._batch] for start in range(0, len(order), self._batch)]
        run = self._threads.map if len(batches) > 1 else map
        inputs = [[encoded[index] for index in batch] for batch in batches]
        for batch, vectors in zip(batches, run(self._forward, inputs), strict=True):
            rows[batch] = vectors
        return rows

    def count_tokens(self, text: str) -> int:
        return len(self._counter.encode(text).ids)

    def in_int8(self, model: Any, folder: Path) -> "SentenceEmbedder":
        """The same with the int8 model that is kept in `folder`. Raises ModelError."""
        self._run, digest = int8_forward(model, self.identity, folder, lambda text: self._cutter.encode(text).ids)
        self.identity += f"-int8-{digest}"
        return self

    def _forward(self, batch: list[list[int]]) -> Vectors:
        ids = np.full((len(batch), max(len(tokens) for tokens in batch)), self._padding, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return self._run(ids, mask)


def _run_torch(model: Any, ids: Ids, mask: Ids) -> Vectors:
    import torch

    given = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
    with torch.inference_mode():
        output = model(given | {"token_type_ids": torch.zeros_like(given["input_ids"])})
        vectors = torch.nn.functional.normalize(output["sentence_embedding"].float(), dim=1)
    result: Vectors = vectors.numpy()
    return result


def load_embedder(path: Path, threads: int, batch: int = 32, int8_folder: Path | None = None) -> Embedder:
    """Load the model in folder `path`, without any network. `batch` texts are computed at once by each of `threads`;
    torch itself uses one thread in this whole process. int8_folder: run it in int8, as built there (see
    `ingest.int8`).

    Raises ModelError where the folder holds no such model.
    """
    os.environ.update(
        HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", HF_HUB_DISABLE_PROGRESS_BARS="1"
    )
    weights = _weights(path)
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    try:
        model = SentenceTransformer(str(path), device="cpu", local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"The embedder in {path} cannot be loaded ({error}).", "Check models.embedder.") from error
    model.eval()
    embedder = SentenceEmbedder(model, f"{path.name}-{model.max_seq_length}-{_hash_of(weights)}", batch, threads)
    return embedder.in_int8(model, int8_folder) if int8_folder else embedder


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
