"""What a start says and does about versions: staged ones, retired files, and those that do not fit the base."""

import logging
from pathlib import Path

import pytest

from adapters.identity import Identity
from adapters.registry import Registry
from config.datadir import DataDirectory
from server.lifecycle import settle_versions
from tests.adapters.tiny import LoraFile, write_lora


def registry_with(tmp_path: Path, *bases: str) -> Registry:
    """halden@1, halden@2, ... for the bases; serves base "a"."""
    data = DataDirectory(tmp_path / "data")
    data.create()
    registry = Registry.open(data)
    for seed, base in enumerate(bases, 1):
        registry.register("halden", write_lora(tmp_path / "v.gguf", LoraFile(seed=seed, base_sha256=base * 64)), {})
    return registry


def test_a_start_with_another_base_names_the_command_that_retrains(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = registry_with(tmp_path, "b", "b")
    registry.activate("halden", 1)
    registry.start_canary("halden", 2, 0.5)
    registry.served = Identity("a" * 64)
    settle_versions(registry)
    assert "halden@1 was trained for another base" in caplog.text
    assert "housevoice adapter train halden EXAMPLES.jsonl" in caplog.text
    assert "The canary halden@2 does not fit" in caplog.text
    assert registry.canary("halden") is None


def test_a_start_activates_what_waited_and_deletes_what_was_to_go(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = registry_with(tmp_path, "b", "a")
    registry.stage("halden", 2)
    registry.retire("halden", 1, "Old base.", deletes_file=True)
    registry.served = Identity("a" * 64)
    with caplog.at_level(logging.WARNING):
        settle_versions(registry)
    active = registry.active("halden")
    assert active is not None
    assert active.name == "halden@2"
    assert not registry.get("halden@1").path.exists()
    caplog.clear()
    settle_versions(registry)
    assert caplog.text == ""
