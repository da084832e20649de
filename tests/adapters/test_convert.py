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
from adapters.training.recipe import ALL_LINEAR
from config.errors import BadRequestError, ModelError
from config.gguf_header import read_header
from config.prompt import PROMPT_VERSION
from tests.adapters.letters import NUM_TOKENS
from tests.adapters.tiny import FAMILIES, llama_cpp_rows, open_in_transformers, write_base

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
        ({"alpha_pattern": {".*q_proj": 4}}, "alpha_pattern has the expression"),
        ({"alpha_pattern": {"q_proj": float("nan")}}, "no sensible numbers"),
        ({"rank_pattern": {"(a+)+$": 4}}, "rank_pattern has the expression"),
        ({"r": 0}, "no sensible numbers"),
        ({"r": 4.5}, "no sensible numbers"),
        ({"r": 8}, "have rank 4; its configuration says 8"),
        ({"lora_alpha": None}, "no sensible numbers"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base itself"),
        ({"use_something_new": True}, "use_something_new"),
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


def test_bfloat16_weights_are_read(base: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_torch

    folder = peft_folder(tmp_path / "peft", pair())
    tensors = {name: torch.tensor(values).bfloat16() for name, values in pair().items()}
    save_torch(tensors, folder / "adapter_model.safetensors")
    header = read_header(convert(folder, base))
    assert set(header.tensors) == {"blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"}
    check_adapter(header.path, base, file_sha256(base))


CONFIGS: list[dict[str, Any]] = [
    {},
    {"use_rslora": True},
    {"alpha_pattern": {"q_proj": 3.0, "layers.1.mlp.down_proj": 20.0}},
    {"rank_pattern": {"k_proj": 2, "layers.0.mlp.up_proj": 7}},
    {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"v_proj": 5.0, "o_proj": 1.0}, "use_rslora": True},
]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers by an old name
@pytest.mark.parametrize("config", CONFIGS, ids=["plain", "rsLoRA", "alphas", "ranks", "all"])
def test_llama_cpp_scales_each_layer_as_peft_does(config: dict[str, Any], tmp_path: Path) -> None:
    compare_with_peft(write_base(tmp_path / "base.gguf"), tmp_path, config)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers by an old name
@pytest.mark.parametrize("architecture", FAMILIES)
def test_llama_cpp_computes_what_peft_computes(architecture: str, tmp_path: Path) -> None:
    compare_with_peft(write_base(tmp_path / "base.gguf", architecture), tmp_path, {})


def compare_with_peft(path: Path, folder: Path, config: dict[str, Any]) -> None:
    """By the change that the adapter makes on 20 prompts, which is wrong if names, scales or row order are."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    plain_model = open_in_transformers(path)
    prompts = [torch.randint(0, NUM_TOKENS, (1, length)) for length in range(5, 25)]
    plain = [last_logits(plain_model, prompt) for prompt in prompts]
    model = get_peft_model(
        plain_model, LoraConfig(r=4, lora_alpha=8, target_modules=list(ALL_LINEAR), task_type="CAUSAL_LM", **config)
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(str(folder / "peft"), save_embedding_layers=False)
    converted = convert(folder / "peft", path)
    check_adapter(converted, path, file_sha256(path))
    tokens = [prompt[0].tolist() for prompt in prompts]
    without, adapted = llama_cpp_rows(path, tokens), llama_cpp_rows(path, tokens, converted)
    for place, prompt in enumerate(prompts):
        change, expected = adapted[place] - without[place], last_logits(model, prompt) - plain[place]
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(change, expected, atol=0.02 * max(1.0, float(np.abs(expected).max())))


def last_logits(model: Any, prompt: Any) -> NDArray[np.float32]:
    import torch

    with torch.no_grad():
        logits: NDArray[np.float32] = model(prompt).logits[0, -1].numpy()
    return logits
