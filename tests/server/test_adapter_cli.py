"""`housevoice adapter list | canary | retire | drift` and `doctor` without a server, on the tiny base."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from adapters.registry import Registry
from config.settings import Settings, load_settings
from server.cli.main import app
from server.drift import DriftStore
from server.keys import KeyStore
from server.records import RequestRecord
from tests.adapters.tiny import LoraFile, write_lora
from tests.server.tiny_base import write_tiny_base

Run = Callable[..., Result]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    brands = tmp_path / "brands"
    brands.mkdir()
    (brands / "alder.toml").write_text('title = "Alder"\n', encoding="utf-8")
    environment = {
        "HOUSEVOICE_DATA_DIR": str(tmp_path / "data"),
        "HOUSEVOICE_MODELS_BASE": str(write_tiny_base(tmp_path / "tiny.gguf")),
        "HOUSEVOICE_STORAGE_BRANDS_DIR": str(brands),
        "COLUMNS": "200",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    settings.data.create()
    return settings


@pytest.fixture
def registry(settings: Settings, tmp_path: Path) -> Registry:
    """alder@1 is active; alder@2 is not; alder@3 is of another base."""
    registry = Registry.open(settings.data)
    for seed in (1, 2, 3):
        given = LoraFile(seed=seed, base_sha256="0" * 64 if seed == 3 else "")
        registry.register("alder", write_lora(tmp_path / f"{seed}.gguf", given), {"base_name": "tiny"})
    registry.activate("alder", 1)
    return registry


@pytest.fixture
def run() -> Run:
    return lambda *arguments: CliRunner().invoke(app, ["adapter", *arguments])


def line(result: Result, name: str) -> str:
    return next(line for line in result.output.splitlines() if line.startswith(name))


@pytest.mark.usefixtures("registry")
def test_the_list_tells_who_gets_what(run: Run, settings: Settings) -> None:
    keys = KeyStore.open(settings.data)
    keys.create("tester", "reader")
    keys.close()
    assert run("canary", "alder@2", "--share", "0.25", "--key", "tester").exit_code == 0
    listed = run("list", "alder")
    assert "active" in line(listed, "alder@1")
    assert "canary 25% and keys tester" in line(listed, "alder@2")
    assert "does not fit the base" in line(listed, "alder@3")
    assert run("canary", "alder", "--stop").exit_code == 0
    assert "canary" not in run("list").output
    retired = run("retire", "alder@2", "--reason", "Too loud.", "--delete-file")
    assert retired.exit_code == 0, retired.output
    assert "retired: Too loud., file deleted" in line(run("list"), "alder@2")


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("canary", "alder@2"), "Add --share 0.1, or --key NAME."),
        (("canary", "alder@2", "--key", "nobody"), "nobody"),
        (("canary", "alder@9", "--share", "0.1"), "Known for this brand: alder@1, alder@2, alder@3."),
        (("canary", "alder@3", "--share", "0.1"), "housevoice adapter train alder EXAMPLES.jsonl"),
        (("activate", "alder@3"), "another base (000000000000, served is"),
        (("retire", "alder@1", "--reason", "x"), "Activate another first"),
        (("upgrade",), "alder@1 fits this base already."),
    ],
)
def test_what_cannot_be_done_says_what_can(run: Run, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.usefixtures("registry")
def test_drift_is_a_table_by_day_with_its_alerts(run: Run, settings: Settings) -> None:
    assert "No answers of alder were counted yet." in run("drift", "alder").output
    few = settings.drift.model_copy(update={"baseline_answers": 10, "min_answers": 5})
    store = DriftStore.open(settings.data, few)
    for number in range(40):
        record = RequestRecord("r", "k", "alder", "alder", adapter="alder@1", is_refusal=number >= 10)
        record.created_unix_seconds = time.time()
        store.count(record)
    store.close()
    shown = run("drift", "alder")
    assert line(shown, "at first").split()[2:] == ["alder@1", "10", "-", "0%", "0%"]
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert line(shown, today).split()[1:] == ["alder@1", "40", "-", "75%", "0%"]
    assert "alert" not in shown.output, "10 answers at first are fewer than drift.min_answers asks for"


def test_an_alert_shows_in_the_table_and_in_doctor(
    run: Run, settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOUSEVOICE_DRIFT_BASELINE_ANSWERS", "10")
    monkeypatch.setenv("HOUSEVOICE_DRIFT_MIN_ANSWERS", "5")
    store = DriftStore.open(settings.data, load_settings().drift)
    for number in range(40):
        store.count(RequestRecord("r", "k", "alder", "alder", adapter="alder@1", is_refusal=number >= 10))
    store.close()
    told = "alder@1: refusals went from 0% (its first 10 answers) to 100% (the last 30)."
    assert f"alert {told}" in run("drift").output
    registry.activate("alder", 3)  # knows no base, so it does not refuse
    doctor = CliRunner().invoke(app, ["doctor"])
    assert doctor.exit_code == 1
    assert told in doctor.output
    assert "alder@3 was trained for another base" in doctor.output


def test_list_and_doctor_say_how_sources_are_read(
    registry: Registry, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = {"base_name": "tiny", "fact_layout": "blocks"}
    registry.register("alder", write_lora(tmp_path / "4.gguf", LoraFile(seed=4)), card)
    listed = run("list", "alder")
    assert " exact " in line(listed, "alder@1")
    assert " blocks " in line(listed, "alder@4")

    def told() -> str:
        return line(CliRunner().invoke(app, ["doctor"]), "alder@")

    assert "reads in one piece," in told()
    monkeypatch.setenv("HOUSEVOICE_ENGINE_FACT_LAYOUT", "blocks")
    assert "reads in one piece, as trained," in told()
    registry.activate("alder", 4)
    assert "reads blocks," in told()
    monkeypatch.setenv("HOUSEVOICE_ENGINE_FACT_LAYOUT", "exact")
    assert "trained on blocks, reads in one piece as engine.fact_layout says," in told()
