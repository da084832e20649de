"""`housevoice index` without a server, on the default models: what a person types and reads."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from config.settings import load_settings
from server.cli.connection import own_generations
from server.cli.main import app

pytestmark = pytest.mark.model


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOUSEVOICE_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "leave.md").write_text("# Leave\n\nTwenty-six days a year.\n", encoding="utf-8")
    (folder / "gate.txt").write_text("The gate code is 4711 until March.\n", encoding="utf-8")
    assert housevoice("ingest", str(folder)).exit_code == 0
    return tmp_path / "data"


def housevoice(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_from_verify_over_rebuild_to_restore(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "all 2 chunks are found" in housevoice("index", "verify").output
    with own_generations(load_settings(), "test") as generations:
        generations.live.parts.vectors.delete(generations.live.parts.catalog.sample_chunk_ids(1))
    broken = housevoice("index", "verify")
    assert broken.exit_code == 1
    assert "1 without a vector" in broken.output
    assert housevoice("index", "verify", "--repair").exit_code == 0

    assert housevoice("index", "backup", str(tmp_path / "b.tar.gz")).exit_code == 0
    monkeypatch.setenv("HOUSEVOICE_INGEST_CHUNK_TOKENS", "90")
    assert "chunk tokens 160 -> 90" in housevoice("index", "list").output
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"question": "What is the gate code?", "relevant": [{"document": "gate.txt"}]}\n')
    rebuilt = housevoice("index", "rebuild", "--questions", str(questions))
    assert "Live, in place of generation 1" in rebuilt.output
    assert "Recall at ten: 1.000 before, 1.000 now." in rebuilt.output
    assert "2 made from their files" in rebuilt.output
    assert "Live, in place of generation 2" in housevoice("index", "rollback").output
    assert "Removed: 2." in housevoice("index", "prune", "--keep", "0").output

    restored = housevoice("index", "restore", str(tmp_path / "b.tar.gz"))
    assert "generation 1, 2 documents, 2 chunks" in restored.output
    assert next((data / "backups").glob("before-restore-*/index/1/card.json")).exists()
    assert "4711" in housevoice("search", "gate code").output
