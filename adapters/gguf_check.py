"""Does a GGUF LoRA belong to this base, and does it do anything? Decided from the files alone, before llama.cpp.

llama.cpp loads adapters of another shape without a word and crashes at the first token. Files come from anywhere, so
the header is read with limits and tensor data only where it really lies inside the file.
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.lora_header import BASE_KEY, PROMPT_KEY, SIDE_A, SIDE_B, changed_tensors, read_adapter_header, refusal
from config.gguf_header import GgufHeader, TensorInfo, read_header
from config.prompt import PROMPT_VERSION

F32, F16, BF16 = 0, 1, 30
ELEMENT_BYTES = {F32: 4, F16: 2, BF16: 2}
"""By ggml type number."""


def check_adapter(path: Path, base: Path, base_sha256: str) -> None:
    """Raises BadRequestError with the first reason why `path` is no usable LoRA adapter for the GGUF file `base`.

    Not covered: whether the adapter is any good, and whether this build of llama.cpp runs it.
    """
    header = read_adapter_header(path, read_header(base))
    _check_origin(header, base_sha256)
    _check_values(header)


def _check_origin(header: GgufHeader, base_sha256: str) -> None:
    """Files made elsewhere say nothing about their origin; what is said must agree."""
    trained_on = header.text(BASE_KEY)
    if trained_on and trained_on != base_sha256:
        raise refusal(header, f"was trained on the base {trained_on[:12]}; the base here is {base_sha256[:12]}")
    version = header.metadata.get(PROMPT_KEY, PROMPT_VERSION)
    if version != PROMPT_VERSION:
        raise refusal(header, f"was trained for prompt version {version}; this release renders {PROMPT_VERSION}")


def _check_values(header: GgufHeader) -> None:
    """Everything finite, and at least one pair whose two sides are not zero."""
    has_effect = False
    for name in changed_tensors(header):
        sides = [_values(header.tensors[name + side], header) for side in (SIDE_A, SIDE_B)]
        if not all(np.isfinite(side).all() for side in sides):
            raise refusal(header, f"has values in {name} that are not finite")
        has_effect |= all(bool(side.any()) for side in sides)
    if not has_effect:
        raise refusal(header, "has no effect: in each pair one side is zero")


def _values(tensor: TensorInfo, header: GgufHeader) -> NDArray[np.float32]:
    if tensor.kind not in ELEMENT_BYTES:
        raise refusal(header, f"has {tensor.name} of type {tensor.kind}; float32, float16 and bfloat16 are read")
    start = header.data_offset + tensor.offset
    data = np.memmap(header.path, np.uint8, "r", offset=start, shape=(_num_bytes(tensor),))
    if tensor.kind == F32:
        return data.view(np.float32)
    if tensor.kind == F16:
        return data.view(np.float16).astype(np.float32)
    return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _num_bytes(tensor: TensorInfo) -> int:
    return math.prod(tensor.shape) * ELEMENT_BYTES[tensor.kind]
