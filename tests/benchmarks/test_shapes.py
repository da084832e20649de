"""Random models and adapters are files that the engine opens and computes with."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench import shapes
from benchmarks.bench.shapes import AdapterShape, Qwen2Shape, qwen_of_random_weights, random_adapters
from server.engine.backend import Span
from server.engine.llama import ContextShape, LlamaBackend
from server.engine.messages import AdapterRef
from server.engine.vocabulary import Vocabulary
from server.lifecycle import turn_format_of
from tests.server.engine.conftest import STORIES


@pytest.mark.skipif(not STORIES.exists(), reason="the tiny model is test material of its own")
@pytest.mark.parametrize("file_type", ["q4_0", "q8_0"])
def test_a_random_qwen_says_something_and_an_adapter_changes_it(
    file_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shapes, "Qwen2Shape", lambda: Qwen2Shape(2, 128, 256, 4, 2))
    path = qwen_of_random_weights(tmp_path, file_type, STORIES)
    vocabulary = Vocabulary.open(path)
    assert turn_format_of(vocabulary).user_open == "<|im_start|>user\n"
    (adapter,) = random_adapters(tmp_path, path, "ba5e" * 16, [5, 6], 1, AdapterShape(4))
    brand = AdapterRef("brand", adapter, hashlib.sha256(adapter.read_bytes()).hexdigest())
    backend = LlamaBackend(path, ContextShape(64, 2, 32, 2))
    backend.load_adapter(brand)
    found = []
    for sequence, voice in enumerate((None, brand.sha256)):
        backend.decode([Span(sequence, 0, tuple(range(5, 25)), wants_logits=True, adapter=voice)])
        found.append(backend.logits(0).copy())
    backend.close()
    assert np.isfinite(found).all()
    assert np.abs(found[0] - found[1]).max() > 1e-3
