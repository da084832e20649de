"""What a person meets at the terminal before anything is asked, and how little can go wrong unnoticed."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapters.evaluation.run import CANDIDATE
from server.cli.adapter_evaluate import last_scores
from server.cli.main import app


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "halden@1", "heldout.jsonl"],
        ["promote", "halden@1", "--heldout", "heldout.jsonl"],
        ["advise", "halden", "pairs.jsonl"],
    ],
)
def test_without_a_server_it_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("HOUSEVOICE_DATA_DIR", str(tmp_path))
    result = CliRunner().invoke(app, ["adapter", *arguments])
    assert result.exit_code == 2
    assert "Start one with: housevoice serve" in result.output.replace("\n", " ")


def test_a_version_is_listed_with_its_newest_scores() -> None:
    assert last_scores({}) == "-"
    assert last_scores({"scores": []}) == "-"
    assert last_scores({"scores": [{"passes": True}]}) == "-"
    older = {"systems": {CANDIDATE: {"form": None}}, "num_questions": 5, "passes": False}
    newer = {"systems": {CANDIDATE: {"form": {"value": 0.934}}}, "num_questions": 30, "passes": True}
    assert last_scores({"scores": [older, newer]}) == "form 93%, 30 asked, gate passed"
    assert last_scores({"scores": [older]}) == "5 asked, gate failed"
