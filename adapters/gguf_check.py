"""Does a GGUF LoRA belong to this base, and does it do anything? Decided from the files alone, before llama.cpp.

llama.cpp loads adapters of another shape without a word and crashes at the first token. Files come from anywhere, so
the header is read with limits and tensor data only where it really lies inside the file.
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.convert import ALPHA_KEY, BASE_KEY, PROMPT_KEY
from config.errors import BadRequestError, ModelError
from config.gguf_header import GgufHeader, TensorInfo, read_header
from config.prompt import PROMPT_VERSION

SIDE_A, SIDE_B = ".lora_a", ".lora_b"
F32, F16, BF16 = 0, 1, 30
ELEMENT_BYTES = {F32: 4, F16: 2, BF16: 2}
"""By ggml type number."""
MAX_RANK = 1_024


def check_adapter(path: Path, base: Path, base_sha256: str) -> None:
    """Raises BadRequestError with the first reason why `path` is no usable LoRA adapter for the GGUF file `base`.

    Not covered: whether the adapter is any good, and whether this build of llama.cpp runs it.
    """
    base_header = read_header(base)
    try:
        header = read_header(path)
    except ModelError as error:
        raise BadRequestError(f"The adapter cannot be used: {error.message}", "adapter") from error
    check_header(header, base_header, base_sha256)
    _check_values(header)


def check_header(header: GgufHeader, base: GgufHeader, base_sha256: str) -> None:
    """The part that needs no tensor data; pure."""
    _check_kind(header, base)
    _check_origin(header, base_sha256)
    names = _changed(header)
    if not names:
        raise _refusal(header, "holds no tensors")
    for tensor in header.tensors.values():
        _check_extent(tensor, header)
    for name in names:
        _check_pair(name, header, base)


def _check_kind(header: GgufHeader, base: GgufHeader) -> None:
    kind = (header.text("general.type"), header.text("adapter.type"))
    if kind != ("adapter", "lora"):
        raise _refusal(header, f"has general.type {kind[0]!r} and adapter.type {kind[1]!r}, not 'adapter' and 'lora'")
    if header.architecture != base.architecture:
        raise _refusal(header, f"is for architecture {header.architecture!r}; the base is {base.architecture!r}")
    alpha = header.metadata.get(ALPHA_KEY)
    if not isinstance(alpha, float) or not math.isfinite(alpha) or alpha <= 0:
        raise _refusal(header, f"has {ALPHA_KEY} {alpha!r}")


def _check_origin(header: GgufHeader, base_sha256: str) -> None:
    """Files made elsewhere say nothing about their origin; what is said must agree."""
    trained_on = header.text(BASE_KEY)
    if trained_on and trained_on != base_sha256:
        raise _refusal(header, f"was trained on the base {trained_on[:12]}; the base here is {base_sha256[:12]}")
    version = header.metadata.get(PROMPT_KEY, PROMPT_VERSION)
    if version != PROMPT_VERSION:
        raise _refusal(header, f"was trained for prompt version {version}; this release renders {PROMPT_VERSION}")


def _check_extent(tensor: TensorInfo, header: GgufHeader) -> None:
    if tensor.kind not in ELEMENT_BYTES:
        raise _refusal(
            header, f"has tensor {tensor.name} of type {tensor.kind}; float32, float16 and bfloat16 are read"
        )
    if header.data_offset + tensor.offset + _num_bytes(tensor) > header.num_bytes:
        raise _refusal(header, f"ends inside tensor {tensor.name}; it may be a broken copy")


def _check_pair(name: str, header: GgufHeader, base: GgufHeader) -> None:
    first, second = header.tensors.get(name + SIDE_A), header.tensors.get(name + SIDE_B)
    if first is None or second is None:
        raise _refusal(header, f"has only one of {name}{SIDE_A} and {SIDE_B}")
    target = base.tensors.get(name)
    if target is None:
        raise _refusal(header, f"changes tensor {name}, which the base does not have")
    shapes = (first.shape, second.shape, target.shape)
    if any(len(shape) != 2 for shape in shapes) or not _fits(*shapes):
        raise _refusal(header, f"has {first.shape} x {second.shape} for {name}, which is {target.shape} in the base")


def _fits(first: tuple[int, ...], second: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Row length first: a (in, rank), b (rank, out), target (in, out)."""
    rank = first[1]
    return first[0] == target[0] and second == (rank, target[1]) and 0 < rank <= MAX_RANK


def _check_values(header: GgufHeader) -> None:
    """Everything finite, and at least one pair whose two sides are not zero."""
    has_effect = False
    for name in _changed(header):
        sides = [_values(header.tensors[name + side], header) for side in (SIDE_A, SIDE_B)]
        if not all(np.isfinite(side).all() for side in sides):
            raise _refusal(header, f"has values in {name} that are not finite")
        has_effect |= all(bool(side.any()) for side in sides)
    if not has_effect:
        raise _refusal(header, "has no effect: in each pair one side is zero")


def _values(tensor: TensorInfo, header: GgufHeader) -> NDArray[np.float32]:
    start = header.data_offset + tensor.offset
    data = np.memmap(header.path, np.uint8, "r", offset=start, shape=(_num_bytes(tensor),))
    if tensor.kind == F32:
        return data.view(np.float32)
    if tensor.kind == F16:
        return data.view(np.float16).astype(np.float32)
    return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _changed(header: GgufHeader) -> list[str]:
    """Names of the base's tensors that the adapter changes."""
    return sorted({name.removesuffix(SIDE_A).removesuffix(SIDE_B) for name in header.tensors})


def _num_bytes(tensor: TensorInfo) -> int:
    return math.prod(tensor.shape) * ELEMENT_BYTES[tensor.kind]


def _refusal(header: GgufHeader, reason: str) -> BadRequestError:
    return BadRequestError(f"The adapter {header.path.name} {reason}.", "adapter")
