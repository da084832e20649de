"""R5: broken adapters are refused with the reason, before they can harm the engine."""

import pickle
from pathlib import Path

import pytest

from adapters.lora_header import read_adapter_header
from config.errors import BadRequestError
from config.gguf_header import read_header
from server.engine.adapter_check import check_in_own_process, find_problem
from server.engine.messages import AdapterRef
from tests.server.engine.lora_files import as_adapter, write_lora


def test_a_sound_adapter_passes(tmp_path: Path, stories_path: Path) -> None:
    assert find_problem(stories_path, write_lora(tmp_path / "sound.gguf", stories_path)) == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "qwen2"}, "architecture 'qwen2'; the base is 'llama'"),
        ({"num_extra_inputs": 8}, r"\(72, 4\) x \(4, 64\) for blk.0.attn_q.weight, which is \(64, 64\)"),
        ({"renamed": "layer"}, "changes tensor layer.0.attn_q.weight, which the base does not have"),
        ({"kind": "control_vector"}, "adapter.type 'control_vector'"),
        ({"has_second_half": False}, "only one of blk.0.attn_q.weight.lora_a and .lora_b"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_header(
    tmp_path: Path, stories_path: Path, changes: dict[str, object], message: str
) -> None:
    adapter = write_lora(tmp_path / "broken.gguf", stories_path, **changes)  # type: ignore[arg-type]
    with pytest.raises(BadRequestError, match=message):
        read_adapter_header(adapter.path, read_header(stories_path))


def test_files_that_are_no_adapters_are_refused(tmp_path: Path, stories_path: Path) -> None:
    base = read_header(stories_path)
    sound = write_lora(tmp_path / "sound.gguf", stories_path).path.read_bytes()
    contents = {
        "truncated": sound[: len(sound) // 2],
        "one byte short of its last tensor": sound.rstrip(b"\0")[:-1],
        "garbage": b"GGUF" + b"\xff" * 200,
        "pickle": pickle.dumps({"lora": [1.0]}),
        "empty": b"",
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(content)
        with pytest.raises(BadRequestError):
            read_adapter_header(path, base)
    with pytest.raises(BadRequestError, match=r"general\.type"):
        read_adapter_header(stories_path, base)


def test_an_adapter_without_effect_is_refused(tmp_path: Path, stories_path: Path) -> None:
    adapter = write_lora(tmp_path / "idle.gguf", stories_path, magnitude=0)
    assert "has no effect" in find_problem(stories_path, adapter)


def test_an_adapter_that_computes_no_numbers_is_refused(tmp_path: Path, stories_path: Path) -> None:
    adapter = write_lora(tmp_path / "loud.gguf", stories_path, magnitude=float("nan"))
    assert "no numbers" in find_problem(stories_path, adapter)


def test_the_check_runs_in_a_process_of_its_own(tmp_path: Path, stories_path: Path) -> None:
    sound = write_lora(tmp_path / "sound.gguf", stories_path)
    check_in_own_process(stories_path, sound)
    with pytest.raises(BadRequestError, match="changed on disk"):
        check_in_own_process(stories_path, AdapterRef("sound", sound.path, "0" * 64))
    idle = write_lora(tmp_path / "idle.gguf", stories_path, magnitude=0)
    with pytest.raises(BadRequestError, match="Adapter idle has no effect"):
        check_in_own_process(stories_path, as_adapter(idle.path))
