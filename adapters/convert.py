"""A PEFT LoRA folder rewritten as a GGUF adapter for one base.

What GGUF can say is kept exactly: ranks that differ between layers as they are, scales (rsLoRA, alpha_pattern) as one
alpha and, where layers differ, folded into their matrices. What it cannot say is refused by name and never dropped:
DoRA, biases, trained embeddings, bases changed by the initialisation, and settings that this release does not know.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.identity import template_sha256
from adapters.lora_header import ALPHA_KEY, BASE_KEY, LORA_KEY, PROMPT_KEY, TEMPLATE_KEY, TOKENIZER_KEY
from adapters.peft_config import PeftConfig, read_peft_config
from adapters.safe_weights import read_weights
from adapters.training.recipe import Lora
from config.errors import BadRequestError, ModelError
from config.gguf_header import GgufHeader, read_header
from config.prompt import PROMPT_VERSION

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3")
"""As written in GGUF; mistral is `llama` there."""
PERMUTED = {"llama": ("attn_q", "attn_k")}
"""Tensors whose rows the GGUF of this architecture holds in another order than transformers (rotary pairs)."""
KEY = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")

ROUNDING = 1e-9
Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LoraPair:
    """The change of one layer is (alpha / rank) * b @ a. Shapes: a (rank, in), b (out, rank)."""

    a: Matrix
    b: Matrix


def convert_adapter(
    peft_folder: Path, base: Path, base_sha256: str, name: str, output: Path, lora: Lora = "activated"
) -> Path:
    """Write `output`, a GGUF LoRA in float16, and return it; nothing is left where something is wrong.

    lora: where in the prompt it is to be on, see `adapters.training.recipe`. Raises BadRequestError for an adapter that
    GGUF cannot express or that does not belong to this architecture.
    """
    header = read_header(base)
    if header.architecture not in ARCHITECTURES:
        raise ModelError(
            f"Adapters for the architecture {header.architecture!r} cannot be converted.",
            f"Use a base of {', '.join(ARCHITECTURES)}.",
        )
    config = read_peft_config(peft_folder)
    pairs = {layer: _scaled(layer, pair, config) for layer, pair in _read_pairs(peft_folder).items()}
    tensors = {name: _reordered(pair, name, header) for name, pair in _renamed(pairs, header).items()}
    partial = output.with_name(f"{output.name}.partial")
    output.parent.mkdir(parents=True, exist_ok=True)
    origin = {BASE_KEY: base_sha256, TOKENIZER_KEY: header.tokenizer_sha256, TEMPLATE_KEY: template_sha256(header)}
    values: dict[str, str | float] = {ALPHA_KEY: config.alpha, LORA_KEY: lora, **origin, "general.name": name}
    _write(partial, tensors, header, values)
    os.replace(partial, output)  # noqa: PTH105
    return output


def _scaled(layer: str, pair: LoraPair, config: PeftConfig) -> LoraPair:
    """llama.cpp scales each pair by alpha / its rank; what PEFT does beyond that goes into b."""
    rank = pair.a.shape[0]
    if rank != config.rank_of(layer):
        raise BadRequestError(
            f"The adapter's matrices for {layer} have rank {rank}; its configuration says {config.rank_of(layer)}."
        )
    factor = config.scale_of(layer) / (config.alpha / rank)
    return pair if abs(factor - 1) < ROUNDING else replace(pair, b=pair.b * np.float32(factor))


def _read_pairs(folder: Path) -> dict[str, LoraPair]:
    """By layer name in transformers, e.g. model.layers.0.mlp.up_proj."""
    sides: dict[str, dict[str, Matrix]] = {}
    for key, tensor in read_weights(folder / "adapter_model.safetensors").items():
        match = KEY.fullmatch(key)
        if match is None:
            raise BadRequestError(f"The adapter's tensor {key} is no LoRA matrix of a layer.")
        sides.setdefault(match["layer"], {})[match["side"]] = tensor
    return {layer: _pair(layer, found) for layer, found in sides.items()}


def _pair(layer: str, found: Mapping[str, Matrix]) -> LoraPair:
    if set(found) != {"A", "B"}:
        raise BadRequestError(f"The adapter has only lora_{next(iter(found))} for {layer}.")
    pair = LoraPair(found["A"], found["B"])
    if pair.a.ndim != 2 or pair.b.ndim != 2 or pair.a.shape[0] != pair.b.shape[1]:
        raise BadRequestError(f"The adapter's matrices for {layer} are {pair.a.shape} and {pair.b.shape}.")
    return pair


def _renamed(pairs: Mapping[str, LoraPair], header: GgufHeader) -> dict[str, LoraPair]:
    import gguf

    architecture = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == header.architecture)
    names = gguf.get_tensor_name_map(architecture, header.number(f"{header.architecture}.block_count"))
    renamed = {}
    for layer, pair in pairs.items():
        name = names.get_name(f"{layer}.weight", try_suffixes=(".weight",))
        target = header.tensors.get(name) if name else None
        if target is None:
            raise BadRequestError(f"The adapter changes {layer}, which {header.path.name} does not have.")
        shape = (pair.a.shape[1], pair.b.shape[0])
        if target.shape != shape:
            raise BadRequestError(f"The adapter changes {layer} as {shape}; in the base it is {target.shape}.")
        renamed[name] = pair
    return renamed


def _reordered(pair: LoraPair, name: str, header: GgufHeader) -> LoraPair:
    """The rows of b follow the rows of the base's matrix."""
    kind = name.split(".")[2]
    if kind not in PERMUTED.get(header.architecture, ()):
        return pair
    num_heads = header.number(f"{header.architecture}.attention.head_count")
    if kind == "attn_k":
        num_heads = header.number(f"{header.architecture}.attention.head_count_kv", num_heads)
    return LoraPair(pair.a, interleave_rotary(pair.b, num_heads))


def interleave_rotary(rows: Matrix, num_heads: int) -> Matrix:
    """Within each head, transformers keeps the two halves of the rotary pairs apart, GGUF's llama side by side."""
    halves = rows.reshape(num_heads, 2, rows.shape[0] // num_heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def _half(matrix: Matrix, name: str) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = matrix.astype(np.float16)
    if not np.isfinite(half).all():
        raise BadRequestError(f"The adapter's values for {name} are not finite in float16.")
    return half


def _write(path: Path, tensors: Mapping[str, LoraPair], header: GgufHeader, values: Mapping[str, str | float]) -> None:
    import gguf

    writer = gguf.GGUFWriter(str(path), header.architecture)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_uint32(PROMPT_KEY, PROMPT_VERSION)
    for key, value in values.items():
        if isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_float32(key, value)
    for name in sorted(tensors):
        writer.add_tensor(f"{name}.lora_a", _half(tensors[name].a, name))
        writer.add_tensor(f"{name}.lora_b", _half(tensors[name].b, name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
