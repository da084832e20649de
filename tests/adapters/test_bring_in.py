"""Adapters made elsewhere come in through our own checks, each refusal with its reason."""

from pathlib import Path

import pytest

from adapters.bring_in import bring_in
from adapters.registry import file_sha256
from config.errors import BadRequestError
from config.models import ModelFile
from tests.adapters.test_convert import pair, peft_folder
from tests.adapters.tiny import LoraFile, write_base, write_lora


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    path = write_base(tmp_path_factory.mktemp("base") / "base.gguf")
    return ModelFile("tiny", path, file_sha256(path), path.stat().st_size)


def test_a_peft_folder_is_converted_and_says_where_it_is_from(base: ModelFile, tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "peft", pair(), base_model_name_or_path="somebody/base")
    gguf, card = bring_in(folder, "halden", base, tmp_path)
    assert gguf.read_bytes()[:4] == b"GGUF"
    assert (card["imported_from"], card["base_model_name_or_path"], card["r"]) == ("PEFT", "somebody/base", 4)


def test_a_gguf_file_is_taken_as_it_is(base: ModelFile, tmp_path: Path) -> None:
    path = write_lora(tmp_path / "voice.gguf")
    gguf, card = bring_in(path, "halden", base, tmp_path)
    assert gguf == path
    assert card["file_sha256"] == file_sha256(path)


def test_what_does_not_fit_is_refused(base: ModelFile, tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "peft", pair(), use_dora=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "weights.bin").write_bytes(b"\x80\x04pickle")
    cases = {
        folder: "uses DoRA",
        tmp_path / "empty": "no PEFT adapter folder",
        tmp_path / "weights.bin": "cannot be used",
        tmp_path / "nowhere": "There is no",
        write_lora(tmp_path / "other.gguf", LoraFile(base_sha256="f" * 64)): "was trained on the base",
    }
    for source, reason in cases.items():
        with pytest.raises(BadRequestError, match=reason):
            bring_in(source, "halden", base, tmp_path)


def test_a_foreign_adapter_reads_in_one_piece_unless_somebody_says_otherwise(base: ModelFile, tmp_path: Path) -> None:
    path = write_lora(tmp_path / "voice.gguf")
    assert bring_in(path, "halden", base, tmp_path)[1]["fact_layout"] == "exact"
    assert bring_in(path, "halden", base, tmp_path, fact_layout="blocks")[1]["fact_layout"] == "blocks"
    plain = write_lora(tmp_path / "plain.gguf", LoraFile(lora="plain"))
    with pytest.raises(BadRequestError, match="on from the first token"):
        bring_in(plain, "halden", base, tmp_path, fact_layout="blocks")
