"""Model files for timing: random weights in a published shape, and random adapters for any base.

Time depends on shapes and types, not on what the numbers say. Written once into the cache folder.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.gguf_header import GgufHeader, read_header
from config.prompt import PROMPT_VERSION

FILE_TYPES = {"q4_0": 2, "q8_0": 7}
"""llama.cpp's numbers for whole files."""
MODEL_SEED = 0
CHATML_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOKENIZER, TEMPLATE_KEY = "tokenizer.", "tokenizer.chat_template"
ATTENTION = ("attn_q", "attn_k", "attn_v")
LINEAR = (*ATTENTION, "attn_output", "ffn_gate", "ffn_up", "ffn_down")
ADAPTER_SCALE = 0.002
"""Of random B weights: what is said stays close to what the base says."""

Writer = Any
"""A gguf.GGUFWriter; the package ships no types."""


@dataclass(frozen=True, slots=True)
class Qwen2Shape:
    """As published for Qwen2.5-0.5B."""

    num_layers: int = 24
    width: int = 896
    feed_forward: int = 4_864
    heads: int = 14
    kv_heads: int = 2

    @property
    def kv_width(self) -> int:
        return self.width // self.heads * self.kv_heads


@dataclass(frozen=True, slots=True)
class AdapterShape:
    """The sample brands' adapters: every linear layer, rank 8."""

    rank: int = 8
    layers: tuple[str, ...] = LINEAR


def qwen_of_random_weights(cache: Path, file_type: str, vocabulary: Path) -> Path:
    """The file, written where it is missing. vocabulary: a GGUF that holds Qwen2's."""
    target = cache / "models" / f"random-qwen2.5-0.5b-{file_type}.gguf"
    if target.exists():
        return target
    print(f"Writing {target.name}", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    whole = target.with_suffix(".f16")
    try:
        _write_qwen(whole, Qwen2Shape(), vocabulary)
        _quantise(whole, target, FILE_TYPES[file_type])
    finally:
        whole.unlink(missing_ok=True)
    return target


def random_adapters(
    cache: Path, base: Path, base_sha256: str, invocation: list[int], count: int, shape: AdapterShape
) -> list[Path]:
    """One file for each brand, on from the last turn of the user: housevoice knows where that is, llama-server looks
    for the tokens `invocation`.
    """
    kind = "all" if shape.layers == LINEAR else "-".join(shape.layers)
    folder = cache / "adapters" / f"{base.stem}-{base_sha256[:12]}-r{shape.rank}-{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"brand-{number + 1}.gguf" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            partial = path.with_suffix(".partial")
            _write_adapter(partial, read_header(base), invocation, shape, number)
            partial.replace(path)
    return paths


def _write_qwen(path: Path, shape: Qwen2Shape, vocabulary: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(str(path), "qwen2")
    num_tokens = _copy_tokenizer(writer, vocabulary)
    writer.add_context_length(32_768)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.num_layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    for name, tensor in _qwen_tensors(shape, num_tokens):
        writer.add_tensor(name, tensor)
    _finish(writer)


def _copy_tokenizer(writer: Writer, vocabulary: Path) -> int:
    """All that says how text becomes tokens, with ChatML as the template. Returns the number of tokens."""
    import gguf

    reader = gguf.GGUFReader(vocabulary)
    for item in reader.fields.values():
        if not item.name.startswith(TOKENIZER) or item.name == TEMPLATE_KEY:
            continue
        if item.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_array(item.name, item.contents())
        else:
            writer.add_key_value(item.name, item.contents(), item.types[0])
    writer.add_chat_template(CHATML_TEMPLATE)
    return len(reader.fields["tokenizer.ggml.tokens"].contents())


def _qwen_tensors(shape: Qwen2Shape, num_tokens: int) -> Iterator[tuple[str, NDArray[np.generic]]]:
    chance = np.random.default_rng(MODEL_SEED)
    width, kv, wide = shape.width, shape.kv_width, shape.feed_forward
    sizes = {
        "attn_q": (width, width),
        "attn_k": (kv, width),
        "attn_v": (kv, width),
        "attn_output": (width, width),
        "ffn_gate": (wide, width),
        "ffn_up": (wide, width),
        "ffn_down": (width, wide),
    }
    yield "token_embd.weight", _random(chance, (num_tokens, width), 0.02)
    yield "output_norm.weight", np.ones(width, np.float32)
    for layer in range(shape.num_layers):
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{name}.weight", np.ones(width, np.float32)
        for name in ATTENTION:
            yield f"blk.{layer}.{name}.bias", np.zeros(sizes[name][0], np.float32)
        for name, size in sizes.items():
            yield f"blk.{layer}.{name}.weight", _random(chance, size, 0.7 / size[1] ** 0.5)


def _random(chance: np.random.Generator, size: tuple[int, int], scale: float) -> NDArray[np.float16]:
    return (chance.standard_normal(size, dtype=np.float32) * np.float32(scale)).astype(np.float16)


def _quantise(source: Path, target: Path, file_type: int) -> None:
    from server.engine.native import llama

    library = llama()
    parameters = library.llama_model_quantize_default_params()
    parameters.ftype = file_type
    partial = target.with_suffix(".partial")
    if library.llama_model_quantize(str(source).encode(), str(partial).encode(), ctypes.byref(parameters)):
        raise SystemExit(f"llama.cpp could not quantise {source.name}.")
    partial.replace(target)


def _write_adapter(path: Path, base: GgufHeader, invocation: list[int], shape: AdapterShape, number: int) -> None:
    import gguf

    chance = np.random.default_rng(number + 1)
    writer = gguf.GGUFWriter(str(path), base.architecture)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 2.0 * shape.rank)
    writer.add_string("housevoice.lora", "activated")
    writer.add_uint32("housevoice.prompt_version", PROMPT_VERSION)
    kinds = gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.UINT32
    writer.add_key_value("adapter.alora.invocation_tokens", invocation, *kinds)
    for name, tensor in sorted(base.tensors.items()):
        if name.startswith("blk.") and name.split(".")[2] in shape.layers and name.endswith(".weight"):
            num_in, num_out = tensor.shape
            writer.add_tensor(f"{name}.lora_a", _random(chance, (shape.rank, num_in), num_in**-0.5))
            writer.add_tensor(f"{name}.lora_b", _random(chance, (num_out, shape.rank), ADAPTER_SCALE))
    _finish(writer)


def _finish(writer: Writer) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
