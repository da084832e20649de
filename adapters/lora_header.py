"""Does a LoRA file fit the base? Decided from the two headers alone, before llama.cpp sees the file.

llama.cpp loads adapters of another shape without a word and crashes at the first token. This module imports nothing
heavy: the engine's process checks with it too.
"""

import math
from functools import lru_cache
from pathlib import Path

from config.errors import BadRequestError, ModelError
from config.gguf_header import GgufHeader, TensorInfo, read_header

SIDE_A, SIDE_B = ".lora_a", ".lora_b"
ALPHA_KEY, BASE_KEY, PROMPT_KEY = "adapter.lora.alpha", "housevoice.base_sha256", "housevoice.prompt_version"
TOKENIZER_KEY, TEMPLATE_KEY = "housevoice.tokenizer_sha256", "housevoice.template_sha256"
LORA_KEY, ACTIVATED, PLAIN = "housevoice.lora", "activated", "plain"
"""Where in a prompt the adapter is on: from the voice boundary, or from the first token. Files of others, and of our
earlier releases, do not say; they are used as activated ones."""
ELEMENT_BYTES = {0: 4.0, 1: 2.0, 8: 34 / 32, 30: 2.0}
"""Bytes of one element by ggml type: F32, F16, Q8_0, BF16."""
MAX_RANK = 1_024


def read_adapter_header(path: Path, base: GgufHeader) -> GgufHeader:
    """The checked header. Raises BadRequestError with the first reason why this is no LoRA adapter for this base."""
    try:
        header = read_header(path)
    except ModelError as error:
        raise BadRequestError(f"The adapter cannot be used: {error.message}", "adapter") from error
    _check_kind(header, base)
    for tensor in header.tensors.values():
        _check_extent(tensor, header)
    names = changed_tensors(header)
    if not names:
        raise refusal(header, "holds no tensors")
    for name in names:
        _check_pair(name, header, base)
    return header


def changed_tensors(header: GgufHeader) -> list[str]:
    """Names of the base's tensors that the adapter changes."""
    return sorted({name.removesuffix(SIDE_A).removesuffix(SIDE_B) for name in header.tensors})


@lru_cache(maxsize=256)
def is_plain(path: Path, sha256: str) -> bool:
    """Whether this adapter was trained to be on from the first token. `sha256`: versions never change, so it is asked
    once. Raises ModelError where the file cannot be read.
    """
    return read_header(path).text(LORA_KEY) == PLAIN


def refusal(header: GgufHeader, reason: str) -> BadRequestError:
    return BadRequestError(f"The adapter {header.path.name} {reason}.", "adapter")


def _check_kind(header: GgufHeader, base: GgufHeader) -> None:
    kind = (header.text("general.type"), header.text("adapter.type"))
    if kind != ("adapter", "lora"):
        raise refusal(header, f"has general.type {kind[0]!r} and adapter.type {kind[1]!r}, not 'adapter' and 'lora'")
    if header.architecture != base.architecture:
        raise refusal(header, f"is for architecture {header.architecture!r}; the base is {base.architecture!r}")
    lora = header.metadata.get(LORA_KEY, ACTIVATED)
    if lora not in (ACTIVATED, PLAIN):
        raise refusal(header, f"has {LORA_KEY} {lora!r}, which is neither {ACTIVATED!r} nor {PLAIN!r}")
    alpha = header.metadata.get(ALPHA_KEY)
    if not isinstance(alpha, float) or not math.isfinite(alpha) or alpha <= 0:
        raise refusal(header, f"has {ALPHA_KEY} {alpha!r}")


def _check_extent(tensor: TensorInfo, header: GgufHeader) -> None:
    if tensor.kind not in ELEMENT_BYTES:
        raise refusal(header, f"has tensor {tensor.name} of the unknown type {tensor.kind}")
    num_bytes = math.prod(tensor.shape) * ELEMENT_BYTES[tensor.kind]
    if header.data_offset + tensor.offset + num_bytes > header.num_bytes:
        raise refusal(header, f"ends inside tensor {tensor.name}; it may be a broken copy")


def _check_pair(name: str, header: GgufHeader, base: GgufHeader) -> None:
    first, second = header.tensors.get(name + SIDE_A), header.tensors.get(name + SIDE_B)
    if first is None or second is None:
        raise refusal(header, f"has only one of {name}{SIDE_A} and {SIDE_B}")
    target = base.tensors.get(name)
    if target is None:
        raise refusal(header, f"changes tensor {name}, which the base does not have")
    shapes = (first.shape, second.shape, target.shape)
    if any(len(shape) != 2 for shape in shapes) or not _fits(*shapes):
        raise refusal(header, f"has {first.shape} x {second.shape} for {name}, which is {target.shape} in the base")


def _fits(first: tuple[int, ...], second: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Row length first: a (in, rank), b (rank, out), target (in, out)."""
    rank = first[1]
    return first[0] == target[0] and second == (rank, target[1]) and 0 < rank <= MAX_RANK
