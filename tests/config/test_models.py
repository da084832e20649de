from pathlib import Path

import pytest

from config.errors import ModelError
from config.models import resolve_base, resolve_embedder
from config.settings import Settings, load_settings


def settings(tmp_path: Path, **models: str) -> Settings:
    environment = {f"HOUSEVOICE_MODELS_{key.upper()}": value for key, value in models.items()}
    return load_settings(environment={"HOUSEVOICE_DATA_DIR": str(tmp_path), **environment})


def test_the_default_models_are_carried_by_packages(tmp_path: Path) -> None:
    base = resolve_base(settings(tmp_path))
    assert base.path.suffix == ".gguf"
    assert len(base.sha256) == 64
    assert (resolve_embedder(settings(tmp_path)) / "modules.json").exists()


def test_a_path_or_a_folder_with_a_gguf_will_do(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "x.gguf").write_bytes(b"GGUF1234")
    assert resolve_base(settings(tmp_path, base=str(tmp_path / "m"))).num_bytes == 8


def test_a_changed_file_gets_another_hash(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF1")
    first = resolve_base(settings(tmp_path, base=str(file))).sha256
    file.write_bytes(b"GGUF22")
    assert resolve_base(settings(tmp_path, base=str(file))).sha256 != first


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/no/such.gguf", "/no/such.gguf does not exist"),
        ("package:no_such_package", "no such package is installed"),
        ("hf:justonename", "not OWNER/REPO/FILE-PATTERN"),
    ],
)
def test_a_missing_model_is_named_with_what_to_do(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        resolve_base(settings(tmp_path, base=source))
    assert message in str(caught.value)
    assert caught.value.hint


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError, match="is not a GGUF file"):
        resolve_base(settings(tmp_path, base=str(file)))
