"""A model file is read with limits before llama.cpp sees it; anything odd is one clear error."""

import struct
from pathlib import Path

import pytest

from config.errors import ModelError
from config.gguf_header import MAGIC, read_header


def header(version: int = 3, num_tensors: int = 0, num_entries: int = 0, rest: bytes = b"") -> bytes:
    return MAGIC + struct.pack("<IQQ", version, num_tensors, num_entries) + rest


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def test_metadata_and_tensors_are_read_and_arrays_skipped(tmp_path: Path) -> None:
    strings = struct.pack("<IQ", 8, 2) + text("one") + text("two")
    numbers = struct.pack("<IQ", 4, 3) + bytes(12)
    tensor = text("blk.0.weight") + struct.pack("<IQQIQ", 2, 8, 4, 0, 0)
    rest = (
        entry("general.architecture", 8, text("llama"))
        + entry("tokens", 9, strings)
        + entry("types", 9, numbers)
        + entry("llama.context_length", 4, struct.pack("<I", 77))
        + tensor
    )
    path = tmp_path / "small.gguf"
    path.write_bytes(header(num_tensors=1, num_entries=4, rest=rest) + bytes(200))
    found = read_header(path)
    assert found.architecture == "llama"
    assert found.number("llama.context_length") == 77
    assert found.number("missing", 5) == 5
    assert found.text("tokens") == ""
    assert found.tensors["blk.0.weight"].shape == (8, 4)
    assert found.data_offset % 32 == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 a zip file, renamed", "not a GGUF file"),
        (b"GG", "damaged"),
        (b"", "damaged"),
        (header(version=99), "version 99"),
        (header(num_tensors=2**60), "claims"),
        (header(num_entries=3), "inside its header"),
        (MAGIC + b"\xff" * 200, "version"),
        (header(num_entries=1, rest=struct.pack("<Q", 2**63)), "damaged"),
        (header(num_entries=1, rest=entry("k", 42, b"")), "unknown value type 42"),
        (header(num_entries=1, rest=entry("k", 9, struct.pack("<IQ", 8, 2**50))), "claims"),
        (header(num_entries=1, rest=entry("k", 9, struct.pack("<IQ", 8, 5)) + b"\xff" * 8), "damaged"),
        (header(num_entries=1, rest=entry("k", 9, struct.pack("<IQ", 9, 1))), "unknown value type 9"),
        (header(num_tensors=1, rest=text("t") + struct.pack("<I", 99)), "99 dimensions"),
        (header(num_tensors=1, rest=text("t") + struct.pack("<IQIQ", 1, 4, 0, 2**40)), "ends before tensor t"),
        (header(num_tensors=2, rest=(text("t") + struct.pack("<IQIQ", 1, 4, 0, 0)) * 2 + bytes(99)), "twice"),
        (header(num_entries=1, rest=entry("general.alignment", 4, struct.pack("<I", 0))), "alignment"),
    ],
)
def test_damaged_files_are_refused_with_the_reason(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_header(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        read_header(tmp_path / "nothing.gguf")
    with pytest.raises(ModelError, match="cannot be read"):
        read_header(tmp_path)
