"""Random LoRA adapters for a base, sound or broken on purpose."""

import hashlib
from pathlib import Path

import gguf
import numpy as np

from config.gguf_header import read_header
from server.engine.messages import AdapterRef

RANK = 4
ALL_LINEAR = tuple(
    f"{name}.weight" for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
)


def write_lora(
    path: Path,
    base: Path,
    *,
    seed: int = 1,
    magnitude: float = 0.5,
    architecture: str | None = None,
    num_extra_inputs: int = 0,
    renamed: str = "blk",
    kind: str = "lora",
    has_second_half: bool = True,
    changed: tuple[str, ...] = ("attn_q.weight", "attn_v.weight"),
    rank: int = RANK,
) -> AdapterRef:
    """changed: the tensors of every layer that it changes. What stands before, but for `seed`, breaks it in one way."""
    header = read_header(base)
    chance = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture or header.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", kind)
    writer.add_float32("adapter.lora.alpha", float(2 * rank))
    for tensor in header.tensors.values():
        if not tensor.name.endswith(changed):
            continue
        num_in, num_out = tensor.shape
        name = tensor.name.replace("blk", renamed, 1)
        first = chance.standard_normal((rank, num_in + num_extra_inputs), np.float32) / np.sqrt(num_in)
        writer.add_tensor(f"{name}.lora_a", first.astype(np.float32))
        if has_second_half:
            second = chance.standard_normal((num_out, rank), np.float32) * magnitude
            writer.add_tensor(f"{name}.lora_b", second.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return as_adapter(path)


def as_adapter(path: Path) -> AdapterRef:
    return AdapterRef(path.stem, path, hashlib.sha256(path.read_bytes()).hexdigest())
