"""kill -9 while versions are registered, activated, promoted and retired: what is active stays whole."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from adapters.registry import Registry, file_sha256
from config.datadir import DataDirectory
from tests.adapters.tiny import LoraFile, write_lora

WORK = """
import sys
from pathlib import Path
from adapters.registry import Registry
from config.datadir import DataDirectory

root, files = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
registry = Registry.open(DataDirectory(root))
print("ready", flush=True)
while True:
    for path in files:
        registry.register("halden", path, {"note": "x" * 10_000})
    for version in (1, 2):
        registry.activate("halden", version)
        registry.start_canary("halden", 3 - version, 0.5)
        registry.activate("halden", 3 - version)
        registry.roll_back("halden")
"""
ROUNDS, LATEST_SECONDS = 8, 0.15


def run_and_kill(root: Path, files: list[Path], seconds: float) -> None:
    command = [sys.executable, "-P", "-c", WORK, str(root), *map(str, files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(seconds)
        process.kill()


def assert_whole(data: DataDirectory) -> None:
    """One active version, whose file is the registered one, that the history ends with, and that is no canary."""
    registry = Registry.open(data)
    versions = registry.versions("halden")
    assert [version.version for version in versions] == list(range(1, len(versions) + 1))
    assert all(file_sha256(version.path) == version.sha256 for version in versions)
    active = [version for version in versions if version.is_active]
    assert len(active) == 1
    canary = registry.canary("halden")
    assert canary is None or canary.version != active[0].version
    history = registry.activations("halden")
    assert history[-1] == active[0].version
    registry.close()


@pytest.mark.parametrize("seed", [1])
def test_whatever_the_moment_the_active_version_is_whole(tmp_path: Path, seed: int) -> None:
    data = DataDirectory(tmp_path / "data")
    data.create()
    files = [write_lora(tmp_path / f"{number}.gguf", LoraFile(seed=number)) for number in (1, 2)]
    registry = Registry.open(data)
    for path in files:
        registry.register("halden", path, {})
    registry.activate("halden", 1)
    registry.close()
    moments = np.random.default_rng(seed).uniform(0, LATEST_SECONDS, ROUNDS)
    for number, seconds in enumerate(moments, 3):
        files.append(write_lora(tmp_path / f"{number}.gguf", LoraFile(seed=number)))
        run_and_kill(data.root, files, float(seconds))
        assert_whole(data)
    assert Registry.open(data).versions("halden")[-1].version >= 3, "some registration was killed after its row"
