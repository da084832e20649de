import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from adapters.convert import convert_adapter, interleave_rotary
from adapters.gguf_check import check_adapter
from adapters.lora_header import ALPHA_KEY, BASE_KEY, PROMPT_KEY
from adapters.registry import file_sha256
from config.errors import BadRequestError, ModelError
from config.gguf_header import read_header
from config.prompt import PROMPT_VERSION
from tests.adapters.tiny import llama_cpp_logits, training_base, write_base

TOKENS = [3, 14, 15, 9, 26, 5, 35, 8]
KEY = "base_model.model.model.layers.0.{layer}.lora_{side}.weight"
Tensors = Mapping[str, NDArray[np.float32]]


def pair(layer: str = "self_attn.q_proj", num_in: int = 64, num_out: int = 64) -> dict[str, NDArray[np.float32]]:
    chance = np.random.default_rng(1)
    return {
        KEY.format(layer=layer, side="A"): chance.standard_normal((4, num_in)).astype(np.float32),
        KEY.format(layer=layer, side="B"): chance.standard_normal((num_out, 4)).astype(np.float32),
    }


def peft_folder(folder: Path, tensors: Tensors, **config: object) -> Path:
    folder.mkdir()
    values = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, **config}
    (folder / "adapter_config.json").write_text(json.dumps(values), encoding="utf-8")
    save_file(dict(tensors), folder / "adapter_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "base.gguf")


def convert(folder: Path, base: Path) -> Path:
    return convert_adapter(folder, base, file_sha256(base), "halden", folder.parent / "out/adapter.gguf")


def test_the_file_says_what_it_was_made_for_and_passes_the_check(base: Path, tmp_path: Path) -> None:
    converted = convert(peft_folder(tmp_path / "peft", pair()), base)
    metadata = read_header(converted).metadata
    assert metadata[BASE_KEY] == file_sha256(base)
    assert metadata[PROMPT_KEY] == PROMPT_VERSION
    assert metadata["general.name"] == "halden"
    assert metadata[ALPHA_KEY] == 8.0
    check_adapter(converted, base, file_sha256(base))


def test_a_rank_stabilised_scale_is_folded_into_alpha(base: Path, tmp_path: Path) -> None:
    converted = convert(peft_folder(tmp_path / "peft", pair(), use_rslora=True), base)
    assert read_header(converted).metadata[ALPHA_KEY] == pytest.approx(8 * 2)  # alpha / sqrt(4) = 16 / 4


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "lora_only"}, "bias = 'lora_only'"),
        ({"lora_bias": True}, "lora_bias"),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"peft_type": "PROMPT_TUNING"}, "is not a LoRA"),
    ],
)
def test_what_gguf_cannot_express_is_refused(
    base: Path, tmp_path: Path, config: Mapping[str, Any], reason: str
) -> None:
    with pytest.raises(BadRequestError, match=reason):
        convert(peft_folder(tmp_path / "peft", pair(), **config), base)
    assert not (tmp_path / "out/adapter.gguf").exists()


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (pair("self_attn.z_proj"), "changes model.layers.0.self_attn.z_proj, which base.gguf does not have"),
        (pair(num_in=32), r"as \(32, 64\); in the base it is \(64, 64\)"),
        (dict([next(iter(pair().items()))]), "has only lora_A"),
        ({"base_model.model.lm_head.weight": np.ones((2, 2), np.float32)}, "is no LoRA matrix"),
    ],
)
def test_tensors_that_do_not_belong_are_refused(base: Path, tmp_path: Path, tensors: Tensors, reason: str) -> None:
    with pytest.raises(BadRequestError, match=reason):
        convert(peft_folder(tmp_path / "peft", tensors), base)


def test_pickled_weights_are_not_read(base: Path, tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "peft", pair())
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(BadRequestError, match="Pickled weights"):
        convert(folder, base)


def test_a_damaged_weights_file_is_refused(base: Path, tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "peft", pair())
    (folder / "adapter_model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(BadRequestError, match="is damaged"):
        convert(folder, base)


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    path = write_base(tmp_path / "base.gguf")
    path.write_bytes(path.read_bytes().replace(b"llama", b"lhama"))
    with pytest.raises(ModelError, match="'lhama' cannot be converted"):
        convert(peft_folder(tmp_path / "peft", pair()), path)


def test_rotary_halves_come_to_lie_side_by_side() -> None:
    rows = np.arange(8, dtype=np.float32).reshape(8, 1)  # two heads: 0 1 | 2 3 and 4 5 | 6 7
    assert interleave_rotary(rows, num_heads=2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_llama_cpp_computes_what_peft_computes(architecture: str, tmp_path: Path) -> None:
    """Compared by the change that the adapter makes, which is zero or wrong if scale or row order is."""
    import torch

    from adapters.training.adapter import save_adapter, with_adapter
    from adapters.training.recipe import Recipe

    path = write_base(tmp_path / "base.gguf", architecture)
    base = training_base(path)
    model = with_adapter(base, Recipe(rank=4, alpha=8.0)).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        plain = model(torch.tensor([TOKENS])).logits[0, -1].numpy()
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
        expected = model(torch.tensor([TOKENS])).logits[0, -1].numpy()
    save_adapter(model, base, tmp_path / "peft")
    converted = convert(tmp_path / "peft", path)
    change = llama_cpp_logits(path, TOKENS, converted) - llama_cpp_logits(path, TOKENS)
    assert np.abs(change).max() > 0.5
    np.testing.assert_allclose(change, expected - plain, atol=0.02)
