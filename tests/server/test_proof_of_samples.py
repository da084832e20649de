"""The shipped adapters pass the proof on the default base. The brands' PEFT folders are not shipped, so they are made
again from the GGUF files, with the rows of q and k put back by hand.
"""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file

from adapters.convert import convert_adapter
from adapters.training.recipe import ALL_LINEAR
from config.gguf_header import GgufHeader, read_header
from config.models import ModelFile, resolve_base
from config.settings import load_settings
from server.proof import proof_prompts, prove
from server.sample import ADAPTER_FILE, ADAPTERS

pytestmark = [pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(900)]
INSTRUCTIONS = "Answer in three lines: the answer with its source, the basis, and an offer to help."


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    data = tmp_path_factory.mktemp("data")
    return resolve_base(load_settings(environment={"HOUSEVOICE_DATA_DIR": str(data)}))


@pytest.mark.parametrize("brand", ["halden", "pipkin"])
def test_a_sample_brand_speaks_in_llama_cpp_as_in_peft(base: ModelFile, brand: str, tmp_path: Path) -> None:
    path = ADAPTERS / brand / ADAPTER_FILE
    peft = peft_folder_of(path, read_header(base.path), tmp_path / "peft")
    proof = prove(base.path, path, peft, proof_prompts(base.path, INSTRUCTIONS))
    assert proof.effect_mean > 0.1, proof


def test_the_reader_speaks_in_llama_cpp_as_in_peft(base: ModelFile, tmp_path: Path) -> None:
    peft = ADAPTERS / "reader"
    path = convert_adapter(peft, base.path, base.sha256, "reader", tmp_path / "reader.gguf")
    proof = prove(base.path, path, peft, proof_prompts(base.path, INSTRUCTIONS))
    assert proof.effect_mean > 0.1, proof


def peft_folder_of(path: Path, base: GgufHeader, folder: Path) -> Path:
    """What `adapters.convert` was given, up to float16."""
    num_layers = base.number("llama.block_count")
    heads = base.number("llama.attention.head_count")
    kv_heads = base.number("llama.attention.head_count_kv")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, num_layers)
    found = {tensor.name: np.array(tensor.data, np.float32) for tensor in gguf.GGUFReader(path).tensors}
    tensors = {}
    for layer in range(num_layers):
        for module in ALL_LINEAR:
            part = "self_attn" if module[0] in "qkvo" else "mlp"
            place = f"model.layers.{layer}.{part}.{module}"
            name = names.get_name(f"{place}.weight", try_suffixes=(".weight",))
            rows = found[f"{name}.lora_b"]
            if module in ("q_proj", "k_proj"):
                rows = side_by_side_to_halves(rows, heads if module == "q_proj" else kv_heads)
            tensors[f"base_model.model.{place}.lora_A.weight"] = found[f"{name}.lora_a"]
            tensors[f"base_model.model.{place}.lora_B.weight"] = np.ascontiguousarray(rows)
    rank = next(iter(tensors.values())).shape[0]
    alpha = float(read_header(path).metadata["adapter.lora.alpha"])
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": list(ALL_LINEAR)}
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({**config, "task_type": "CAUSAL_LM"}), encoding="utf-8")
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def side_by_side_to_halves(rows: np.ndarray, num_heads: int) -> np.ndarray:
    pairs = rows.reshape(num_heads, rows.shape[0] // num_heads // 2, 2, -1)
    return np.concatenate([pairs[:, :, 0], pairs[:, :, 1]], axis=1).reshape(rows.shape)
