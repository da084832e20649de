"""The model file mapped, locked and copied: always the same model; what cannot be locked is said."""

from pathlib import Path

import numpy as np
import pytest

from config.errors import ModelError
from config.settings import Weights
from server.engine import weights
from server.engine.backend import Span
from server.engine.llama import ContextShape, LlamaBackend
from server.engine.weights import refuse_unlocked


def last_logits(path: Path, how: Weights) -> np.ndarray:
    backend = LlamaBackend(path, ContextShape(64, 2, 32, 2, weights=how))
    backend.decode([Span(0, 0, tuple(range(5, 25)), wants_logits=True)])
    logits = backend.logits(0).copy()
    backend.close()
    return logits


def test_all_ways_give_the_same_model(stories_path: Path) -> None:
    mapped = last_logits(stories_path, "mapped")
    assert np.array_equal(mapped, last_logits(stories_path, "loaded"))


def test_locked_memory_is_the_same_model(stories_path: Path) -> None:
    try:
        locked = last_logits(stories_path, "locked")
    except ModelError as error:
        pytest.skip(f"not allowed here: {error}")
    assert np.array_equal(last_logits(stories_path, "mapped"), locked)


def test_what_is_not_locked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, status = tmp_path / "base.gguf", tmp_path / "status"
    model.write_bytes(bytes(2_000_000))
    monkeypatch.setattr(weights, "STATUS", status)
    refuse_unlocked(model)  # a system that does not tell
    status.write_text("VmPeak:\t 10 kB\nVmLck:\t 1900 kB\n")
    refuse_unlocked(model)
    status.write_text("VmLck:\t 64 kB\n")
    with pytest.raises(ModelError, match=r"Only 0 of the 2 MB of base.gguf") as raised:
        refuse_unlocked(model)
    assert "ulimit -l" in raised.value.hint
