"""The model's weights in eight bits: engine.weight_type.

llama.cpp multiplies several rows at once with some types of weights only. With others (Q4_1, Q5_1, Q3_K) a batch costs
nearly as much as its rows one by one, so prompts are read slowly and streams gain little from each other. Such a file
is copied once into Q8_0, which keeps each weight to within a 254th of the largest one of its block of 32: far finer
than the step it was rounded to before.
"""

import ctypes
import logging
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from config.errors import ModelError
from config.gguf_header import GgufHeader, read_header
from config.settings import WeightType
from server.engine.native import complaints, llama
from server.engine.storage import EngineStorage

Q8_0 = 8
WIDE = (0, 1, Q8_0, 30)
"""Numbers of ggml's types with eight bits or more: F32, F16, Q8_0, BF16."""
Q8_0_BYTES = 34 / 32
"""Of a weight."""

SLOW = (3, 7)
"""Q4_1 and Q5_1: no kernel multiplies several rows with them."""
MANY_WEIGHTS = 500_000_000
"""A larger model's single streams wait for memory, and would be slowed down by a larger copy."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServedWeights:
    """storage: what is computed with other weights is kept apart. note: for people, what is served and why."""

    path: Path
    storage: EngineStorage | None
    note: str = "as in the file"


def served_weights(
    path: Path, weight_type: WeightType, storage: EngineStorage | None, *, on_gpu: bool = False
) -> ServedWeights:
    """The file itself, or its copy in eight bits, made now where it is not there yet.

    Raises ModelError where the copy was asked for and cannot be made, with what to do.
    """
    if weight_type == "file" or storage is None or storage.weights is None:
        return ServedWeights(path, storage)
    header = read_header(path)
    if weight_type == "q8_0":
        if _share(header, lambda kind: kind in WIDE) > 0.5:
            return ServedWeights(path, storage, "as in the file: most have eight bits or more")
        return _served_copy(header, storage, storage.weights)
    if on_gpu or _num_weights(header) > MANY_WEIGHTS or _share(header, lambda kind: kind in SLOW) < 0.5:
        return ServedWeights(path, storage)
    try:
        return _served_copy(header, storage, storage.weights)
    except ModelError as error:
        log.warning("%s The file is served as it is, which is slower.", error)
        return ServedWeights(path, storage, f"as in the file: {error.message}")


def _num_weights(header: GgufHeader) -> int:
    return sum(math.prod(tensor.shape) for tensor in header.tensors.values())


def _share(header: GgufHeader, is_one: Callable[[int], bool]) -> float:
    """Of all weights, how many are of such a type."""
    found = sum(math.prod(tensor.shape) for tensor in header.tensors.values() if is_one(tensor.kind))
    return found / max(1, _num_weights(header))


def _served_copy(header: GgufHeader, storage: EngineStorage, folder: Path) -> ServedWeights:
    copy = folder / f"{storage.base_sha256[:16]}-q8_0.gguf"
    if not copy.exists():
        _copy(header, copy)
    return ServedWeights(copy, replace(storage, base_sha256=f"{storage.base_sha256} in q8_0"), "a copy in eight bits")


def _copy(header: GgufHeader, copy: Path) -> None:
    """Appears whole or not at all."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    _demand_room(header, copy)
    library, partial = llama(), copy.with_suffix(".partial")
    parameters = library.llama_model_quantize_default_params()
    parameters.ftype = library.LLAMA_FTYPE_MOSTLY_Q8_0
    parameters.allow_requantize = True
    log.info("Copying the weights of %s into eight bits, once, to %s", header.path.name, copy)
    failed = library.llama_model_quantize(str(header.path).encode(), str(partial).encode(), ctypes.byref(parameters))
    if failed:
        partial.unlink(missing_ok=True)
        raise ModelError(
            f"The weights of {header.path} could not be copied into eight bits. {complaints()}".strip(),
            'Set engine.weight_type = "file" to serve the file as it is.',
        )
    partial.replace(copy)


def _demand_room(header: GgufHeader, copy: Path) -> None:
    needed, free = int(_num_weights(header) * Q8_0_BYTES), shutil.disk_usage(copy.parent).free
    if needed > free:
        raise ModelError(
            f"A copy of {header.path.name} in eight bits takes {needed / 1e6:.0f} MB; {copy.parent} has"
            f" {free / 1e6:.0f} MB left.",
            'Make room, or set engine.weight_type = "file".',
        )
