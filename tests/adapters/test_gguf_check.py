import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from adapters.gguf_check import check_adapter
from adapters.registry import file_sha256
from config.errors import BadRequestError
from tests.adapters.tiny import LoraFile, write_base, write_lora


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "base.gguf")


def test_a_fitting_adapter_passes(base: Path, tmp_path: Path) -> None:
    sha256 = file_sha256(base)
    check_adapter(write_lora(tmp_path / "foreign.gguf"), base, sha256)
    check_adapter(write_lora(tmp_path / "own.gguf", LoraFile(base_sha256=sha256, prompt_version=1)), base, sha256)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (LoraFile(architecture="qwen2"), "is for architecture 'qwen2'; the base is 'llama'"),
        (LoraFile(general_type="model"), "has general.type 'model'"),
        (LoraFile(alpha=float("nan")), "has adapter.lora.alpha nan"),
        (LoraFile(alpha=0.0), "has adapter.lora.alpha 0.0"),
        (LoraFile(base_sha256="f" * 64), "was trained on the base ffffffffffff"),
        (LoraFile(prompt_version=0), "was trained for prompt version 0"),
        (LoraFile(num_inputs=32), r"has \(32, 4\) x \(4, 64\) for blk.0.attn_q.weight, which is \(64, 64\)"),
        (LoraFile(rank_b=8), r"has \(64, 4\) x \(8, 64\)"),
        (LoraFile(name="blk.9.attn_q.weight"), "changes tensor blk.9.attn_q.weight, which the base does not have"),
        (LoraFile(name="blk.0.attn_norm.weight"), r"which is \(64,\) in the base"),
        (LoraFile(has_b=False), "has only one of blk.0.attn_q.weight.lora_a"),
        (LoraFile(factor_b=0.0), "has no effect"),
        (LoraFile(factor_b=float("inf")), "has values in blk.0.attn_q.weight that are not finite"),
    ],
)
def test_a_mismatched_adapter_is_refused_with_its_own_reason(
    base: Path, tmp_path: Path, given: LoraFile, reason: str
) -> None:
    with np.errstate(invalid="ignore"):
        path = write_lora(tmp_path / "adapter.gguf", given)
    with pytest.raises(BadRequestError, match=reason):
        check_adapter(path, base, file_sha256(base))


def many_dimensions(data: bytes) -> bytes:
    """The tensor table says 2^60 rows for the first tensor."""
    name = b"blk.0.attn_q.weight.lora_a"
    place = data.index(name) + len(name) + 4
    return data[:place] + struct.pack("<Q", 2**60) + data[place + 8 :]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "cannot be"),
        (lambda data: b"\x80\x04\x95" + data, "is not a GGUF file"),
        (lambda data: b"GGUF" + b"\xff" * 200, "GGUF version 4294967295"),
        (lambda data: data[:8] + b"\xff" * 16 + data[24:], "it claims"),
        (lambda data: data[: len(data) // 4], "damaged|broken"),
        (lambda data: data[:-100], "ends inside tensor"),
        (many_dimensions, "ends inside tensor"),
    ],
    ids=["empty", "pickle", "garbage", "counts", "header cut", "data cut", "dimensions"],
)
def test_a_damaged_file_is_refused(base: Path, tmp_path: Path, damage: Callable[[bytes], bytes], reason: str) -> None:
    path = write_lora(tmp_path / "adapter.gguf")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadRequestError, match=reason):
        check_adapter(path, base, file_sha256(base))
