"""`housevoice adapter train` as a process, killed twice: while it trains, and behind the training. Whoever was active
stays, nothing half gets in, and the same command ends with the adapter of an undisturbed run.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.registry import AdapterVersion, Registry
from adapters.training.recipe import Recipe, write_recipe
from config.datadir import DataDirectory
from tests.adapters.tiny import write_lora
from tests.adapters.tiny_words import write_speaking_base

ROOT = Path(__file__).parents[2]
RECIPE = Recipe(
    rank=4, alpha=8.0, num_epochs=2, batch_rows=10, learning_rate=0.01, precision="float32", threads=1,
    checkpoint_seconds=0.0,
)  # fmt: skip
NUM_ROWS = 50


@dataclass(frozen=True, slots=True)
class Company:
    """A folder with a tiny base, a brand, its rows and a recipe; `data` differs from run to run."""

    folder: Path

    @property
    def command(self) -> list[str]:
        files = [str(self.folder / name) for name in ("rows.jsonl", "heldout.jsonl", "recipe.toml")]
        rows, heldout, recipe = files
        words = ["adapter", "train", "alder", rows, "--validation", heldout, "--recipe", recipe]
        return [sys.executable, "-c", "import sys; from server.cli.main import main; sys.exit(main())", *words]

    def environment(self, data: Path) -> dict[str, str]:
        return os.environ | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "HOUSEVOICE_DATA_DIR": str(data),
            "HOUSEVOICE_MODELS_BASE": str(self.folder / "base.gguf"),
            "HOUSEVOICE_MODELS_BASE_NAME": "tiny",
            "HOUSEVOICE_STORAGE_BRANDS_DIR": str(self.folder / "brands"),
        }

    def train(self, data: Path) -> str:
        """What it told; it must end well."""
        done = subprocess.run(
            self.command, capture_output=True, text=True, check=False, cwd=ROOT, env=self.environment(data)
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def train_and_kill(self, data: Path, moment: Callable[[Path], bool]) -> None:
        """moment: of the run's folder, asked all the time."""
        with subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, env=self.environment(data)
        ) as process:
            while process.poll() is None and not any(moment(run) for run in data.glob("training/runs/alder/*")):
                time.sleep(0.002)
            process.kill()
        assert process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    folder = tmp_path_factory.mktemp("company")
    write_speaking_base(folder / "base.gguf")
    (folder / "brands").mkdir()
    (folder / "brands" / "alder.toml").write_text('title = "Alder"\nsystem_prompt = "Be brief."\n', encoding="utf-8")
    for name, numbers in (("rows", range(NUM_ROWS)), ("heldout", range(100, 104))):
        lines = [row(number) for number in numbers]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    write_recipe(RECIPE, folder / "recipe.toml")
    return Company(folder)


def row(number: int) -> str:
    messages = [
        {"role": "user", "content": f"How long is {number}?"},
        {"role": "assistant", "content": f"It is {number} days [1]."},
    ]
    return json.dumps({"messages": messages, "sources": [{"title": "A", "text": f"{number} days."}]})


def versions(data: Path) -> list[AdapterVersion]:
    registry = Registry.open(DataDirectory(data))
    try:
        return registry.versions("alder")
    finally:
        registry.close()


def with_an_active_version(data: Path) -> None:
    directory = DataDirectory(data)
    directory.create()
    registry = Registry.open(directory)
    registry.register("alder", write_lora(data.parent / "first.gguf"), {})
    registry.activate("alder", 1)
    registry.close()


@pytest.mark.timeout(900)
def test_killed_twice_the_command_still_ends_with_the_same_adapter(company: Company, tmp_path: Path) -> None:
    undisturbed, data = tmp_path / "undisturbed", tmp_path / "data"
    told = company.train(undisturbed)
    (expected,) = versions(undisturbed)
    for part in ("estimated", "measured", "epoch 2", "llama.cpp against PEFT", "alder@1 registered"):
        assert part in told
    with_an_active_version(data)

    company.train_and_kill(data, lambda run: (run / "checkpoints" / "state.safetensors").exists())
    assert [(version.name, version.is_active) for version in versions(data)] == [("alder@1", True)]
    company.train_and_kill(data, lambda run: (run / "adapter").exists())
    assert [(version.name, version.is_active) for version in versions(data)] == [("alder@1", True)]

    assert "epoch" not in company.train(data).partition("estimated")[0]
    first, second = versions(data)
    assert (first.is_active, second.is_active) == (True, False)
    assert second.sha256 == expected.sha256
    assert second.card["fact_layout"] == "exact"
    (run,) = data.glob("training/runs/alder/*")
    assert json.loads((run / "result.json").read_text(encoding="utf-8"))["num_resumed"] == 1


def test_the_card_holds_proof_cost_and_curve(company: Company, tmp_path: Path) -> None:
    company.train(tmp_path / "data")
    (version,) = versions(tmp_path / "data")
    card = json.loads(json.dumps(version.card))
    assert card["proof"]["num_prompts"] == 20
    assert card["proof"]["is_base_unchanged"] is True
    assert card["proof"]["peft_difference_mean"] < 0.02
    assert card["measured"]["seconds"] > 0
    assert card["estimated"]["peak_gigabytes"] > 0
    assert [step for step, _ in card["curve"]] == list(range(1, 11))
    assert card["recipe"]["lora"] == "activated"
