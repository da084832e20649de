"""Does a LoRA file fit the base? Decided from the two headers alone, before llama.cpp sees the file.

llama.cpp loads adapters of another shape without a word and crashes at the first token.
"""

import math
from pathlib import Path

from config.errors import BadRequestError, ModelError
from config.gguf_header import GgufHeader, TensorInfo, read_header

SUFFIX_A, SUFFIX_B = ".lora_a", ".lora_b"
ELEMENT_BYTES = {0: 4.0, 1: 2.0, 8: 34 / 32, 30: 2.0}
"""Bytes of one element by ggml type: F32, F16, Q8_0, BF16."""
MAX_RANK = 1_024


def check_adapter_header(path: Path, base: GgufHeader) -> None:
    """Raises BadRequestError with the first reason why this is no LoRA adapter for this base."""
    try:
        header = read_header(path)
    except ModelError as error:
        raise BadRequestError(f"The adapter cannot be used: {error.message}", "model") from error
    _check_kind(header, base)
    for tensor in header.tensors.values():
        _check_extent(tensor, header)
    names = {name.removesuffix(SUFFIX_A).removesuffix(SUFFIX_B) for name in header.tensors}
    if not names:
        raise _refuse(header, "holds no tensors")
    for name in sorted(names):
        _check_pair(name, header, base)


def _check_kind(header: GgufHeader, base: GgufHeader) -> None:
    kind = (header.text("general.type"), header.text("adapter.type"))
    if kind != ("adapter", "lora"):
        raise _refuse(header, f"has general.type {kind[0]!r} and adapter.type {kind[1]!r}, not 'adapter' and 'lora'")
    if header.architecture != base.architecture:
        raise _refuse(header, f"is for architecture {header.architecture!r}; the base is {base.architecture!r}")
    alpha = header.metadata.get("adapter.lora.alpha")
    if not isinstance(alpha, float) or not math.isfinite(alpha) or alpha <= 0:
        raise _refuse(header, f"has adapter.lora.alpha {alpha!r}")


def _check_extent(tensor: TensorInfo, header: GgufHeader) -> None:
    if tensor.kind not in ELEMENT_BYTES:
        raise _refuse(header, f"has tensor {tensor.name} of the unknown type {tensor.kind}")
    num_bytes = math.prod(tensor.shape) * ELEMENT_BYTES[tensor.kind]
    if header.data_offset + tensor.offset + num_bytes > header.num_bytes:
        raise _refuse(header, f"ends inside tensor {tensor.name}; it may be a broken copy")


def _check_pair(name: str, header: GgufHeader, base: GgufHeader) -> None:
    first, second = header.tensors.get(name + SUFFIX_A), header.tensors.get(name + SUFFIX_B)
    if first is None or second is None:
        raise _refuse(header, f"has only one of {name}{SUFFIX_A} and {SUFFIX_B}")
    target = base.tensors.get(name)
    if target is None:
        raise _refuse(header, f"changes tensor {name}, which the base does not have")
    shapes = (first.shape, second.shape, target.shape)
    if any(len(shape) != 2 for shape in shapes) or not _fits(*shapes):
        raise _refuse(header, f"has {first.shape} x {second.shape} for {name}, which is {target.shape} in the base")


def _fits(first: tuple[int, ...], second: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """A: (in, rank), B: (rank, out), target: (in, out)."""
    rank = first[1]
    return first[0] == target[0] and second == (rank, target[1]) and 0 < rank <= MAX_RANK


def _refuse(header: GgufHeader, reason: str) -> BadRequestError:
    return BadRequestError(f"The adapter {header.path.name} {reason}.", "model")
