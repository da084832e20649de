"""The header of a GGUF file, read with limits.

llama.cpp aborts the whole process on some damaged files, so every file is read here first: magic, counts, metadata,
tensor table, and whether the tensor data really lies inside the file. Arrays are skipped over, not kept.
Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import hashlib
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from config.errors import ModelError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_ENTRIES = 1_000_000
MAX_DIMENSIONS = 4
MAX_ARRAY_ITEMS = 16_000_000
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""GGUF value type to struct letter."""
DEFAULT_ALIGNMENT = 32
TOKENIZER = "tokenizer.ggml."

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """shape: as llama.cpp counts it, the row length first. `kind` is the ggml type number."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """metadata: scalars and strings only. data_offset: where the tensors' bytes start. tokenizer_sha256: of everything
    that says how text becomes tokens, the chat template left out; "" for a file without a tokenizer.
    """

    path: Path
    metadata: dict[str, Scalar]
    tensors: dict[str, TensorInfo]
    data_offset: int
    num_bytes: int
    tokenizer_sha256: str = ""

    def text(self, key: str) -> str:
        value = self.metadata.get(key, "")
        return value if isinstance(value, str) else ""

    def number(self, key: str, default: int = 0) -> int:
        value = self.metadata.get(key, default)
        return default if isinstance(value, str) else int(value)

    @property
    def architecture(self) -> str:
        return self.text("general.architecture")


def read_header(path: Path) -> GgufHeader:
    """Raises ModelError that says what is wrong with the file: missing, no GGUF, damaged or cut short."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _read(path, data)
    except FileNotFoundError as error:
        raise ModelError(f"The model file {path} does not exist.", "Check models.base.") from error
    except OSError as error:
        raise ModelError(f"The model file {path} cannot be read ({error.strerror}).") from error
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise _damaged(path, str(error)) from error


def _read(path: Path, data: mmap.mmap) -> GgufHeader:
    cursor = _Cursor(data)
    if cursor.take(4) != MAGIC:
        raise ModelError(f"{path} is not a GGUF file.", "Use a model in GGUF format.")
    version = cursor.number("I")
    if version not in VERSIONS:
        raise ModelError(f"{path} has GGUF version {version}; versions 2 and 3 are read.", "Convert the model again.")
    num_tensors, num_entries = int(cursor.number("Q")), int(cursor.number("Q"))
    if max(num_tensors, num_entries) > MAX_ENTRIES:
        raise _damaged(path, f"it claims {num_tensors} tensors and {num_entries} metadata entries")
    metadata: dict[str, Scalar] = {}
    tokenizer: dict[str, bytes] = {}
    for _ in range(num_entries):
        key = cursor.string()
        start = cursor.position
        value = cursor.value(int(cursor.number("I")))
        if value is not None:
            metadata[key] = value
        if key.startswith(TOKENIZER):
            tokenizer[key] = hashlib.sha256(data[start : cursor.position]).digest()
    tensors = {tensor.name: tensor for tensor in (cursor.tensor() for _ in range(num_tensors))}
    if len(tensors) != num_tensors:
        raise _damaged(path, "a tensor name occurs twice")
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment <= 0:
        raise _damaged(path, f"its alignment is {alignment!r}")
    data_offset = -(-cursor.position // alignment) * alignment
    _check_offsets(path, tensors, data_offset, len(data))
    return GgufHeader(path, metadata, tensors, data_offset, len(data), _combined(tokenizer))


def _combined(hashes: dict[str, bytes]) -> str:
    """Whatever order the entries stand in."""
    lines = [key.encode() + b"=" + hashes[key] for key in sorted(hashes)]
    return hashlib.sha256(b"\n".join(lines)).hexdigest() if lines else ""


def _check_offsets(path: Path, tensors: dict[str, TensorInfo], data_offset: int, num_bytes: int) -> None:
    for tensor in tensors.values():
        if data_offset + tensor.offset >= num_bytes:
            raise _damaged(path, f"it ends before tensor {tensor.name}; it may be a broken download")


class _Cursor:
    """Reads one value after the other; every read past the end raises."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.position = 0

    def take(self, num_bytes: int) -> bytes:
        end = self.position + num_bytes
        if end > len(self._data):
            raise ValueError(f"it ends at byte {len(self._data)}, inside its header")
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def number(self, letter: str) -> int | float | bool:
        value: int | float | bool = struct.unpack("<" + letter, self.take(struct.calcsize("<" + letter)))[0]
        return value

    def string(self) -> str:
        return self.take(int(self.number("Q"))).decode("utf-8")

    def value(self, kind: int) -> Scalar | None:
        """The next value, or None for an array, which is skipped."""
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            self._skip_array()
            return None
        return self.number(SCALARS[kind]) if kind in SCALARS else _unknown(kind)

    def tensor(self) -> TensorInfo:
        name = self.string()
        num_dimensions = int(self.number("I"))
        if num_dimensions > MAX_DIMENSIONS:
            raise ValueError(f"tensor {name} has {num_dimensions} dimensions")
        shape = tuple(int(self.number("Q")) for _ in range(num_dimensions))
        return TensorInfo(name, shape, int(self.number("I")), int(self.number("Q")))

    def _skip_array(self) -> None:
        kind, count = int(self.number("I")), int(self.number("Q"))
        if count > MAX_ARRAY_ITEMS:
            raise ValueError(f"an array claims {count} items")
        if kind in SCALARS:
            self.take(count * struct.calcsize("<" + SCALARS[kind]))
        elif kind == STRING:
            self._skip_strings(count)
        else:
            _unknown(kind)

    def _skip_strings(self, count: int) -> None:
        """A vocabulary has hundreds of thousands of them, so this loop avoids the helpers."""
        data, position, unpack = self._data, self.position, struct.Struct("<Q").unpack_from
        for _ in range(count):
            position += 8 + unpack(data, position)[0]
        self.position = position
        self.take(0)


def _unknown(kind: int) -> NoReturn:
    raise ValueError(f"it uses the unknown value type {kind}")


def _damaged(path: Path, detail: str) -> ModelError:
    return ModelError(f"{path} is a damaged GGUF file: {detail}.", "Fetch or convert it again.")
