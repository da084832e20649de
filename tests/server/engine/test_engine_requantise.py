"""A copy of the model in eight bits: nearly the same numbers, made once, and kept apart from what the file computes."""

import ctypes
from pathlib import Path

import numpy as np
import pytest

from config.errors import ModelError
from config.gguf_header import read_header
from config.settings import EngineSettings
from server.engine import requantise
from server.engine.backend import Span
from server.engine.client import EngineClient
from server.engine.llama import ContextShape, LlamaBackend
from server.engine.native import llama
from server.engine.requantise import Q8_0, WIDE, served_weights
from server.engine.storage import EngineStorage


@pytest.fixture
def slow_path(stories_path: Path, tmp_path: Path) -> Path:
    """A model in Q4_1."""
    path, library = tmp_path / "slow.gguf", llama()
    parameters = library.llama_model_quantize_default_params()
    parameters.ftype, parameters.allow_requantize = library.LLAMA_FTYPE_MOSTLY_Q4_1, True
    assert library.llama_model_quantize(str(stories_path).encode(), str(path).encode(), ctypes.byref(parameters)) == 0
    return path


@pytest.fixture
def storage(tmp_path: Path) -> EngineStorage:
    return EngineStorage(tmp_path / "facts", "ba5e" * 16, weights=tmp_path / "copies")


def logits(path: Path) -> np.ndarray:
    backend = LlamaBackend(path, ContextShape(64, 2, 32, 2))
    backend.decode([Span(0, 0, tuple(range(5, 25)), wants_logits=True)])
    found = backend.logits(0).copy()
    backend.close()
    return found


def test_the_copy_says_the_same_and_what_it_computes_is_kept_apart(slow_path: Path, storage: EngineStorage) -> None:
    served = served_weights(slow_path, "q8_0", storage)
    assert served.path != slow_path
    kinds = {tensor.kind for tensor in read_header(served.path).tensors.values() if len(tensor.shape) > 1}
    assert Q8_0 in kinds
    assert kinds <= set(WIDE)
    assert served.storage is not None
    assert served.storage.base_sha256 != storage.base_sha256
    original, copied = logits(slow_path), logits(served.path)
    assert original.argmax() == copied.argmax()
    assert np.abs(original - copied).max() < 0.05 * original.std()


def test_rows_of_the_copy_are_the_same_alone_and_together(slow_path: Path, storage: EngineStorage) -> None:
    """Kernels for several rows take over at two; the library is compiled so that they change no bit of an answer."""
    backend = LlamaBackend(served_weights(slow_path, "q8_0", storage).path, ContextShape(256, 12, 128, 12))
    for sequence in range(9):
        backend.decode([Span(sequence, 0, tuple(range(5 + sequence, 25 + sequence)), wants_logits=False)])
    spans = [Span(sequence, 20, (40 + sequence,), wants_logits=True) for sequence in range(9)]
    backend.decode(spans[:1])
    alone = backend.logits(0).copy()
    for number in (2, 3, 8, 9):
        backend.truncate(0, 20)
        for span in spans[1:number]:
            backend.truncate(span.sequence, 20)
        backend.decode(spans[:number])
        assert np.array_equal(backend.logits(0), alone)
    backend.close()


def test_without_being_asked_only_slow_types_of_small_models_are_copied(
    stories_path: Path, slow_path: Path, storage: EngineStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert served_weights(stories_path, "auto", storage).path == stories_path
    assert served_weights(slow_path, "auto", storage, on_gpu=True).path == slow_path
    monkeypatch.setattr(requantise, "MANY_WEIGHTS", 1_000)
    assert served_weights(slow_path, "auto", storage).path == slow_path
    monkeypatch.undo()
    assert served_weights(slow_path, "auto", storage).path != slow_path


def test_without_being_asked_a_copy_that_cannot_be_made_keeps_nobody_from_answering(
    slow_path: Path, storage: EngineStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requantise, "Q8_0_BYTES", 1e12)
    served = served_weights(slow_path, "auto", storage)
    assert (served.path, served.storage) == (slow_path, storage)
    assert "MB left" in served.note


async def test_a_damaged_copy_is_removed_and_the_file_is_served(
    slow_path: Path, storage: EngineStorage, settings: EngineSettings
) -> None:
    copy = served_weights(slow_path, "q8_0", storage).path
    copy.write_bytes(copy.read_bytes()[:-1_000])
    settings = settings.model_copy(update={"weight_type": "q8_0"})
    for note in ("its copy was damaged", "a copy in eight bits"):
        client = EngineClient(slow_path, settings, storage)
        await client.start()
        try:
            assert note in client.status().weights
        finally:
            await client.stop()


def test_it_is_made_once(slow_path: Path, storage: EngineStorage) -> None:
    first = served_weights(slow_path, "q8_0", storage).path
    made = first.stat().st_mtime_ns
    assert served_weights(slow_path, "q8_0", storage).path == first
    assert first.stat().st_mtime_ns == made
    assert [path.name for path in first.parent.iterdir()] == [first.name]


def test_the_file_is_served_where_that_is_asked_or_nothing_would_be_gained(
    stories_path: Path, slow_path: Path, storage: EngineStorage
) -> None:
    assert served_weights(slow_path, "file", storage).path == slow_path
    wide = served_weights(stories_path, "q8_0", storage)
    assert (wide.path, wide.storage) == (stories_path, storage)
    assert "as in the file" in wide.note
    eight = served_weights(slow_path, "q8_0", storage).path
    again = served_weights(eight, "q8_0", storage)
    assert again.path == eight
    assert "eight bits or more" in again.note


def test_a_full_disk_is_said_before_anything_is_written(
    slow_path: Path, storage: EngineStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(ModelError, match=r"eight bits takes .* MB") as raised:
        served_weights(slow_path, "q8_0", storage)
    assert "weight_type" in raised.value.hint
    assert list(storage.weights.iterdir() if storage.weights else []) == []


def test_what_the_library_refuses_is_said_and_leaves_nothing(slow_path: Path, storage: EngineStorage) -> None:
    whole = slow_path.read_bytes()
    slow_path.write_bytes(whole.replace(b"llama", b"lamma"))
    with pytest.raises(ModelError, match="could not be copied into eight bits") as raised:
        served_weights(slow_path, "q8_0", storage)
    assert "weight_type" in raised.value.hint
    assert storage.weights is not None
    assert list(storage.weights.iterdir()) == []


def test_a_copy_that_fails_leaves_nothing(slow_path: Path, storage: EngineStorage) -> None:
    whole = slow_path.read_bytes()
    slow_path.write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(ModelError):
        served_weights(slow_path, "q8_0", storage)
    assert not storage.weights or not list(storage.weights.glob("*"))
