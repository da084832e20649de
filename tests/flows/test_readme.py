"""README's commands and code, run as they stand."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from config.brands import load_brands
from config.settings import SAMPLE
from tests.flows.company import Company, housevoice

pytestmark = pytest.mark.model
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Every `housevoice ...` line of the code blocks, without its comment."""
    lines = [line.removeprefix("$ ") for block in blocks("") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("housevoice ")]


@pytest.mark.parametrize("arguments", commands(), ids=lambda arguments: " ".join(arguments)[:40])
def test_each_command_runs(company: Company, arguments: list[str]) -> None:
    given = [str(SAMPLE / "documents") if argument == "~/handbook" else argument for argument in arguments]
    done = company.run(*given)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_python_code_prints_a_cited_answer(company: Company) -> None:
    (code,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", code.replace("http://127.0.0.1:8080", company.url)],
        cwd=company.data.parent,  # the code reads data/local.key
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Halden Technical Desk" in done.stdout


def test_the_brand_file_is_one(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    (tmp_path / "acme.toml").write_text(text, encoding="utf-8")
    assert load_brands(tmp_path)["acme"].title == "Acme Support"


def test_all_named_commands_exist(tmp_path: Path) -> None:
    listed = re.search(r"`housevoice (serve \|.*?)`", README)
    assert listed is not None
    for name in listed[1].split(" | "):
        assert housevoice(tmp_path / "data", name, "--help").returncode == 0, name
