"""What llama.cpp says of the same prompts before an adapter is loaded, with it, and with it loaded but off."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.lora_header import is_plain
from server.engine.backend import Span
from server.engine.llama import ContextShape, LlamaBackend
from server.engine.messages import AdapterRef

Rows = NDArray[np.float32]
"""Shape (prompts, vocabulary): logits after each prompt's last token."""


@dataclass(frozen=True, slots=True)
class ProofPrompt:
    """Token ids, and the index from which an activated adapter is on: 0 < voice_boundary < len(tokens)."""

    tokens: tuple[int, ...]
    voice_boundary: int

    def boundary(self, *, plain: bool) -> int:
        return 0 if plain else self.voice_boundary


@dataclass(frozen=True, slots=True)
class ServedRows:
    """before and after are of the base alone; between them the adapter was loaded and used."""

    before: Rows
    adapted: Rows
    after: Rows


def served_rows(model: Path, adapter: AdapterRef, prompts: Sequence[ProofPrompt]) -> ServedRows:
    """Loads the model, and an adapter that may kill the process: call it in one of its own.

    Raises BadRequestError where the adapter does not load, EngineError where it does not compute.
    """
    longest = max(len(prompt.tokens) for prompt in prompts)
    backend = LlamaBackend(model, ContextShape(longest + 1, 1, longest, 1))
    plain = is_plain(adapter.path, adapter.sha256)
    before = _rows(backend, prompts, None, plain)
    backend.load_adapter(adapter)
    adapted = _rows(backend, prompts, adapter.sha256, plain)
    after = _rows(backend, prompts, None, plain)
    backend.close()
    return ServedRows(before, adapted, after)


def _rows(backend: LlamaBackend, prompts: Sequence[ProofPrompt], adapter: str | None, plain: bool) -> Rows:
    return np.stack([_last_logits(backend, prompt, prompt.boundary(plain=plain), adapter) for prompt in prompts])


def _last_logits(backend: LlamaBackend, prompt: ProofPrompt, boundary: int, adapter: str | None) -> Rows:
    """As the engine does it: what stands before the boundary by the base alone."""
    backend.truncate(0, 0)
    if boundary:
        backend.decode([Span(0, 0, prompt.tokens[:boundary], wants_logits=False)])
    backend.decode([Span(0, boundary, prompt.tokens[boundary:], wants_logits=True, adapter=adapter)])
    return backend.logits(0).copy()
