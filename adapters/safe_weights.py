"""A safetensors file from anywhere, as float32 matrices. Pickles are never opened: they are code."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config.errors import BadRequestError

MAX_BYTES = 8_000_000_000
"""A LoRA of rank 256 on every layer of a 70 B model is about as large."""


def _bfloat16(data: bytes) -> NDArray[np.float32]:
    return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)


DECODERS: dict[str, Callable[[bytes], NDArray[np.float32]]] = {
    "F64": lambda data: np.frombuffer(data, np.float64).astype(np.float32),
    "F32": lambda data: np.frombuffer(data, np.float32),
    "F16": lambda data: np.frombuffer(data, np.float16).astype(np.float32),
    "BF16": _bfloat16,
}
"""By the type's name in the file."""


def read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Raises BadRequestError where the file is missing, too large, damaged, or holds another kind of number."""
    from safetensors import SafetensorError, deserialize

    if not path.is_file():
        raise BadRequestError(
            f"{path.parent} has no {path.name}.", hint="Pickled weights (.bin) are not read: they are code."
        )
    if path.stat().st_size > MAX_BYTES:
        raise BadRequestError(f"{path} is larger than {MAX_BYTES / 1e9:g} GB, which no adapter is.")
    try:
        found = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except (SafetensorError, OSError) as error:
        raise BadRequestError(f"{path} is damaged: {error}.") from error
    return {name: _tensor(name, values["dtype"], values["shape"], values["data"]) for name, values in found}


def _tensor(name: str, kind: str, shape: list[int], data: bytes) -> NDArray[np.float32]:
    if kind not in DECODERS:
        raise BadRequestError(f"The adapter's tensor {name} is of type {kind}; read are {', '.join(DECODERS)}.")
    return DECODERS[kind](bytes(data)).reshape(shape)
