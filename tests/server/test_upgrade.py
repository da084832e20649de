"""Another base: every brand trained again from what was kept, compared, and active only after a yes and a new start."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from adapters.identity import Identity, identity_of
from adapters.kept_rows import keep_rows
from adapters.registry import Registry
from adapters.training.recipe import Recipe
from config.brands import Brand
from config.datadir import DataDirectory
from config.models import ModelFile, resolve_base
from config.settings import load_settings
from server.offline_scores import read_held_out
from server.upgrade import plan_upgrade
from tests.adapters.tiny import LoraFile, write_lora
from tests.adapters.tiny_words import write_speaking_base
from tests.server.engine.lora_files import write_lora as random_lora
from tests.server.tiny_base import write_tiny_base

REFUSAL = "Ahoy! That is not written down."
BRAND = Brand(name="halden", system_prompt="Reply as a sailor.", refusal=REFUSAL)


def row(question: str, answer: str, **more: object) -> dict[str, object]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    sources = [{"title": "Leave", "heading": "Days", "text": f"{question} It is {len(question)} days."}]
    return {"messages": messages, "sources": sources, **more}


ROWS = [row(f"How long is leave number {n}?", f"Ahoy! It is {n + 20} days [1].") for n in range(6)]


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in rows), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    return directory


def tiny(tmp_path: Path) -> ModelFile:
    path = write_tiny_base(tmp_path / "tiny.gguf")
    return ModelFile("tiny", path, "7" * 64, path.stat().st_size)


def test_the_plan_takes_what_does_not_fit_and_says_why_not_the_rest(data: DataDirectory, tmp_path: Path) -> None:
    registry, base = Registry.open(data), tiny(tmp_path)
    rows = write_rows(tmp_path / "rows.jsonl", ROWS)
    recipe = asdict(Recipe(num_epochs=2, rank=4, start_from="/somewhere/reader", precision="float32"))
    known: dict[str, object] = {"examples_sha256": keep_rows(data, rows), "recipe": {**recipe, "of_a_later_release": 1}}
    lost: dict[str, object] = {"examples_sha256": "1" * 64}
    other = "0" * 64
    cards = {"fits": (base.sha256, known), "old": (other, known), "foreign": (other, {}), "lost": (other, lost)}
    for seed, (name, (sha256, card)) in enumerate(cards.items()):
        file = write_lora(tmp_path / f"{name}.gguf", LoraFile(seed=seed, base_sha256=sha256))
        registry.activate(name, registry.register(name, file, card).version)
    brands = [BRAND.model_copy(update={"name": name}) for name in (*cards, "empty")]
    (candidate,), left_out = plan_upgrade(registry, data, brands, base)
    assert (candidate.version.name, candidate.given.examples.read_bytes()) == ("old@1", rows.read_bytes())
    assert candidate.recipe == Recipe(num_epochs=2, rank=4)
    assert candidate.notes == ("starts fresh: reader was of the other base",)
    reasons = {item.brand: item.reason for item in left_out}
    assert "fits this base already" in reasons["fits"]
    assert "housevoice adapter train foreign" in reasons["foreign"]
    assert "are not kept" in reasons["lost"]
    assert "no active version" in reasons["empty"]


def test_held_out_rows_are_spread_over_the_file_with_their_facts(tmp_path: Path) -> None:
    rows = [*ROWS, row("And the moon?", REFUSAL), row("When?", "At noon [1].", fact="noon")]
    found = read_held_out(write_rows(tmp_path / "rows.jsonl", rows), BRAND, 100)
    assert [item.fact for item in found] == ["20", "21", "22", "23", "24", "25", "", "noon"]
    assert [item.example.line for item in read_held_out(tmp_path / "rows.jsonl", BRAND, 3)] == [1, 4, 7]


def write_brand(folder: Path) -> Path:
    folder.mkdir()
    lines = (
        'system_prompt = "Reply as a sailor."', f'refusal = "{REFUSAL}"', "sampling = {max_tokens = 16}",
        "[format]", 'lines = ["Ahoy!"]',
    )  # fmt: skip
    (folder / "halden.toml").write_text("\n".join(lines), encoding="utf-8")
    return folder


def copied_base(base: ModelFile, path: Path) -> Path:
    """The same model as another file."""
    shutil.copyfile(base.path, path)
    with path.open("ab") as file:
        file.write(b"\0" * 64)
    return path


def trained_on(base: ModelFile, data: DataDirectory, tmp_path: Path) -> Registry:
    """halden@1 is active, with rows and a recipe that take seconds."""
    card = {
        "examples_sha256": keep_rows(data, write_rows(tmp_path / "rows.jsonl", ROWS)),
        "validation_sha256": keep_rows(data, write_rows(tmp_path / "held_out.jsonl", ROWS[:2])),
        "recipe": asdict(Recipe(num_epochs=1, rank=4, batch_rows=3, precision="float32")),
    }
    registry = Registry.open(data, identity_of(base))
    registry.register("halden", random_lora(tmp_path / "voice.gguf", base.path).path, card)
    registry.activate("halden", 1)
    return registry


@pytest.mark.timeout(900)
def test_from_another_base_to_new_versions_that_wait_for_it(data: DataDirectory, tmp_path: Path) -> None:
    """The command line throughout."""
    own = {
        "HOUSEVOICE_DATA_DIR": str(data.root),
        "HOUSEVOICE_STORAGE_BRANDS_DIR": str(write_brand(tmp_path / "brands")),
        "HOUSEVOICE_MODELS_BASE": str(write_speaking_base(tmp_path / "old.gguf")),
    }
    old = resolve_base(load_settings(environment=own))
    other = copied_base(old, tmp_path / "other.gguf")
    registry = trained_on(old, data, tmp_path)
    environment = os.environ | own | {"COLUMNS": "200"}
    command = [sys.executable, "-m", "server.cli.main", "adapter", "upgrade"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        whole = [*command, "--base", str(other), *arguments]
        return subprocess.run(whole, env=environment, capture_output=True, text=True, check=False)

    asked = run()
    assert asked.returncode == 0, asked.stderr
    assert "halden@1" in asked.stdout
    assert asked.stdout.count("n=2") >= 4, "both sides were asked both rows"
    assert "Nothing was changed" in asked.stderr
    assert [version.name for version in registry.versions()] == ["halden@1"]

    confirmed = run("--yes")
    assert confirmed.returncode == 0, confirmed.stderr
    assert "epoch" not in confirmed.stderr, "what was made is not trained a second time"
    assert "halden@2 waits for its base." in confirmed.stdout
    made = registry.get("halden@2")
    assert (made.card["parent"], made.card["base_name"], made.is_active) == ("halden@1", "other", False)
    assert not list((data.root / "upgrade").iterdir())
    assert registry.activate_staged() == [], "the old base is still served"
    assert Registry.open(data, Identity(made.base_sha256)).activate_staged() == ["halden@2"]
