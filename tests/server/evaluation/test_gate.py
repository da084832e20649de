"""Gates: what passes, what falls short, and files that are wrong."""

from pathlib import Path

import pytest

from config.errors import ConfigError
from config.settings import SAMPLE
from server.evaluation.gate import Shortfall, read_gate, shortfalls
from server.evaluation.measures import score
from server.evaluation.questions import Expected
from tests.server.evaluation.found import candidate, judged, retrieval


def gate_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gate.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_falls_short_is_listed_with_both_values(tmp_path: Path) -> None:
    gate = read_gate(
        gate_file(tmp_path, '[fused]\n"R@1" = 0.9\n"R@5" = 1\n[dense]\nRR = 0.4\n[refusal]\nauroc = 0.5\n')
    )
    found = [candidate("other", dense=1), candidate("wanted", dense=2)]
    scores = score([judged("q", (Expected("wanted"),), retrieval(*found))])
    assert shortfalls(gate, scores) == [Shortfall("fused.R@1", 0.9, 0.0), Shortfall("refusal.auroc", 0.5, None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[fuse]\n", r"section \[fuse\].*Did you mean fused"),
        ('[fused]\n"R@2" = 0.5\n', r"measure fused.R@2.*Did you mean R@"),
        ('[fused]\n"R@1" = 1.5\n', "fused.R@1 = 1.5"),
        ('[fused]\n"R@1" = "high"\n', "fused.R@1 = 'high'"),
        ('[fused]\n"R@1" = true\n', "fused.R@1 = True"),
        ('[fused]\n"R@1" = nan\n', "fused.R@1 = nan"),
        ("fused = 1\n", "is not a section"),
        ("[fused]\n", "demands nothing"),
        ("[fused\n", "not valid TOML"),
    ],
)
def test_a_wrong_gate_is_explained(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_gate(gate_file(tmp_path, text))


def test_an_absent_gate_and_the_shipped_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_gate(tmp_path / "none.toml")
    assert read_gate(SAMPLE / "retrieval-gate.toml").least["fused.R@1"] > 0.5
