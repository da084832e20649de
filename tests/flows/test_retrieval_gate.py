"""`housevoice eval retrieval` on the sample company: CI's guard of retrieval, and what a person sees of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from config.datadir import DataDirectory
from config.settings import SAMPLE
from tests.server.test_reranking import make_cross_encoder

pytestmark = pytest.mark.model
PAIRS = SAMPLE / "examples" / "halden-pairs.jsonl"
GATE = SAMPLE / "retrieval-gate.toml"


def housevoice(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server.cli.main", "--data-dir", str(data), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the sample company's documents, and nobody who owns it."""
    data = tmp_path_factory.mktemp("gate") / "data"
    assert housevoice(data, "ingest", str(SAMPLE / "documents")).returncode == 0
    return data


def test_retrieval_on_the_sample_company_passes_its_gate(data: Path, tmp_path: Path) -> None:
    page, numbers = tmp_path / "report.html", tmp_path / "numbers.json"
    done = housevoice(
        *(data, "eval", "retrieval", "--questions", str(PAIRS), "--gate", str(GATE)),
        *("--html", str(page), "--json", str(numbers)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "AUROC" in done.stdout
    assert "Passed." in page.read_text(encoding="utf-8")
    found = json.loads(numbers.read_text(encoding="utf-8"))
    assert found["num_answerable"] + found["num_unanswerable"] == len(found["results"]) > 150
    assert found["fell_short"] == []
    assert not [item for item in found["absent"] if item["reason"] == "the document is not indexed"]


def test_what_falls_short_is_listed_and_fails(data: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate.toml"
    gate.write_text('[lexical]\n"R@1" = 1.0\n[refusal]\nauroc = 0.5\n', encoding="utf-8")
    questions = tmp_path / "questions.jsonl"
    asked = {"id": "a", "question": "annual leave", "relevant": [{"document": "no/such.md"}]}
    questions.write_text(json.dumps(asked) + "\n", encoding="utf-8")
    done = housevoice(data, "eval", "retrieval", "--questions", str(questions), "--gate", str(gate))
    assert done.returncode == 1
    assert "lexical.R@1 fell short: 0.000, at least 1 is demanded" in done.stdout
    assert "refusal.auroc fell short: not measured" in done.stdout
    assert "no/such.md: the document is not indexed" in done.stderr


def test_beside_an_owner_and_with_an_empty_knowledge_base_it_says_what_to_do(data: Path) -> None:
    with DataDirectory(data).own("serve", "http://127.0.0.1:9"):
        owned = housevoice(data, "eval", "retrieval", "--questions", str(PAIRS), "--limit", "1")
    assert owned.returncode == 2
    assert "Stop it" in owned.stderr
    empty = housevoice(data, "eval", "retrieval", "--questions", str(PAIRS), "-k", "annex", "--limit", "1")
    assert empty.returncode == 2
    assert "annex" in empty.stderr
    assert "Known: company" in empty.stderr


def test_what_is_measured_is_what_is_served_reranking_included(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It searched without the reranker, and called that what is served."""
    monkeypatch.setenv("HOUSEVOICE_RETRIEVAL_RERANKER", str(make_cross_encoder(tmp_path / "model")))
    monkeypatch.setenv("HOUSEVOICE_RETRIEVAL_RERANK_SECONDS", "60")
    questions, numbers = tmp_path / "questions.jsonl", tmp_path / "numbers.json"
    questions.write_text('{"id": "a", "question": "how many rooms"}\n', encoding="utf-8")
    done = housevoice(data, "eval", "retrieval", "--questions", str(questions), "--json", str(numbers))
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads(numbers.read_text(encoding="utf-8"))["results"]
    assert None not in [found["rerank_score"] for found in row["found"]]
