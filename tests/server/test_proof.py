"""The proof of parity, on tiny bases where both sides can be made to agree or not."""

from pathlib import Path

import numpy as np
import pytest

from adapters.convert import convert_adapter
from adapters.lora_header import LORA_KEY
from adapters.registry import file_sha256
from adapters.training.recipe import Lora
from config.errors import BadRequestError
from config.gguf_header import read_header
from server.engine.adapter_proof import ProofPrompt, served_rows
from server.engine.messages import AdapterRef
from server.proof import Proof, divergence, prove
from tests.adapters.letters import NUM_TOKENS
from tests.adapters.tiny import LoraFile, trained_folder, write_base, write_lora
from tests.server.tiny_base import write_tiny_base

CHANCE = np.random.default_rng(3)
PROMPTS = [ProofPrompt(tuple(CHANCE.integers(0, NUM_TOKENS, length).tolist()), length // 2) for length in range(8, 28)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "base.gguf")


@pytest.fixture(scope="module")
def peft(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_folder(base, tmp_path_factory.mktemp("peft") / "adapter")


def converted(peft: Path, base: Path, output: Path, lora: Lora = "activated") -> Path:
    return convert_adapter(peft, base, file_sha256(base), "halden", output, lora)


@pytest.mark.parametrize("lora", ["activated", "plain"])
def test_a_true_conversion_agrees_with_peft(base: Path, peft: Path, tmp_path: Path, lora: Lora) -> None:
    gguf = converted(peft, base, tmp_path / "adapter.gguf", lora)
    assert read_header(gguf).text(LORA_KEY) == lora
    proof = prove(base, gguf, peft, PROMPTS)
    assert proof.num_prompts == 20
    assert proof.peft_difference_mean is not None
    assert proof.peft_difference_mean < 0.02
    assert proof.effect_mean > 0.01
    assert proof.is_base_unchanged
    assert "llama.cpp against PEFT" in str(proof)


def test_where_the_adapter_is_on_makes_a_difference(base: Path, peft: Path, tmp_path: Path) -> None:
    """Else the test above could not tell the two kinds apart."""
    kinds: tuple[Lora, Lora] = ("activated", "plain")
    files = [converted(peft, base, tmp_path / f"{lora}.gguf", lora) for lora in kinds]
    rows = [served_rows(base, AdapterRef(path.name, path, file_sha256(path)), PROMPTS).adapted for path in files]
    assert np.abs(rows[0] - rows[1]).mean() > 0.05


def test_half_the_scale_is_found(base: Path, peft: Path, tmp_path: Path) -> None:
    gguf = converted(peft, base, tmp_path / "adapter.gguf")
    key = b"adapter.lora.alpha"
    data = bytearray(gguf.read_bytes())
    place = data.index(key) + len(key) + 4
    data[place : place + 4] = np.float32(np.frombuffer(bytes(data[place : place + 4]), np.float32)[0] / 2).tobytes()
    gguf.write_bytes(data)
    with pytest.raises(BadRequestError, match=r"failed its proof: its logits differ by .* from PEFT's"):
        prove(base, gguf, peft, PROMPTS)


def test_rows_in_another_order_are_found(
    base: Path, peft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression fence: without the permutation of the llama family names, shapes and scale are all right."""
    monkeypatch.setattr("adapters.convert.PERMUTED", {})
    with pytest.raises(BadRequestError, match="failed its proof"):
        prove(base, converted(peft, base, tmp_path / "adapter.gguf"), peft, PROMPTS)


def test_a_base_that_training_reads_otherwise_is_found(tmp_path: Path) -> None:
    """Regression fence: without head_count_kv in its header, transformers leaves the rows of q and k as GGUF has them,
    so an adapter would be trained on a model that nobody serves.
    """
    base = write_tiny_base(tmp_path / "base.gguf")
    peft = trained_folder(base, tmp_path / "peft")
    with pytest.raises(BadRequestError, match="the base itself is another one in training"):
        prove(base, converted(peft, base, tmp_path / "adapter.gguf"), peft, PROMPTS)


def test_an_adapter_without_effect_is_refused(base: Path, tmp_path: Path) -> None:
    gguf = write_lora(tmp_path / "idle.gguf", LoraFile(factor_b=1e-7))
    with pytest.raises(BadRequestError, match="has no effect"):
        prove(base, gguf, None, PROMPTS)


def test_a_foreign_gguf_is_proven_as_far_as_it_can_be(base: Path, tmp_path: Path) -> None:
    proof = prove(base, write_lora(tmp_path / "voice.gguf"), None, PROMPTS)
    assert (proof.peft_difference_mean, proof.is_base_unchanged) == (None, True)
    assert "no PEFT weights" in str(proof)


def test_a_file_that_llama_cpp_refuses_is_refused_here(base: Path, tmp_path: Path) -> None:
    gguf = write_lora(tmp_path / "other.gguf", LoraFile(architecture="qwen2"))
    with pytest.raises(BadRequestError, match="architecture 'qwen2'"):
        prove(base, gguf, None, PROMPTS)


def test_divergence_is_that_of_the_distributions() -> None:
    half, sure = np.zeros((1, 2), np.float32), np.array([[np.log(3), 0]], np.float32)
    assert divergence(half, half)[0] == pytest.approx(0)
    expected = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    assert divergence(half, sure + 7)[0] == pytest.approx(expected)


def test_the_card_can_hold_it() -> None:
    assert "base unchanged" in str(Proof(20, 0.5, 1.0, True))
