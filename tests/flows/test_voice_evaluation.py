"""The brand owner's loop at the terminal, on the sample company: advise, evaluate, promote."""

import json
from pathlib import Path

import pytest

from config.settings import SAMPLE
from tests.flows.company import Company

pytestmark = pytest.mark.model
PAIRS = str(SAMPLE / "examples" / "halden-pairs.jsonl")


def test_a_version_is_measured_and_what_it_lacks_is_said(company: Company, tmp_path: Path) -> None:
    page, figures, details = tmp_path / "report.html", tmp_path / "figures.json", tmp_path / "details.jsonl"
    done = company.run(
        *("adapter", "evaluate", "halden", PAIRS, "--limit", "2", "--skip", "ability", "--skip", "leaks"),
        *("--html", str(page), "--json", str(figures), "--details", str(details)),
    )
    assert done.returncode == 1, done.stderr
    assert "held-out questions: 2; demanded: at least 20" in done.stdout
    found = json.loads(figures.read_text(encoding="utf-8"))
    assert found["version"] == "halden@1"
    assert found["systems"]["candidate"]["form"]["num"] == 2
    assert found["systems"]["base, best prompt"]["model"] == "halden@0"
    assert len(details.read_text(encoding="utf-8").splitlines()) == 4
    assert "The gate did not pass" in page.read_text(encoding="utf-8")


def test_a_limited_look_is_not_kept_and_promotes_nothing(company: Company) -> None:
    try:
        assert company.run("adapter", "activate", "halden@0").returncode == 0
        done = company.run("adapter", "evaluate", "halden@1", PAIRS, "--limit", "1", "--skip", "ability", "--promote")
        assert done.returncode == 1, done.stderr
        assert "nothing was activated" in done.stdout
        listed = company.run("adapter", "list", "halden").stdout
        assert "active" not in listed.replace("halden@1", "", 1).splitlines()[1]
        assert "asked" not in listed
    finally:
        assert company.run("adapter", "activate", "halden@1").returncode == 0


def test_advice_comes_with_figures_and_a_price(company: Company) -> None:
    done = company.run("adapter", "advise", "halden", PAIRS, "--limit", "1", "--skip-estimate", "--price", "8")
    assert done.returncode == 0, done.stderr
    assert "documents, examples" in done.stdout
    assert "million training tokens" in done.stdout
    assert "at 8 a million" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "halden@7", PAIRS), "There is no adapter 'halden@7'"),
        (("evaluate", "halden@0", PAIRS), "Name one of: halden@1"),
        (("evaluate", "haldne@1", PAIRS), "There is no brand 'haldne'"),
        (("promote", "halden@1", "--heldout", "/no/such.jsonl"), "/no/such.jsonl cannot be read"),
        (("evaluate", "halden@1", PAIRS, "--split", "other"), "no rows of the split 'other'"),
    ],
)
def test_what_cannot_be_run_is_explained(company: Company, arguments: tuple[str, ...], message: str) -> None:
    done = company.run("adapter", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
