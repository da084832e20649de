"""Under which conditions a result was measured, for the foot of each result file."""

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("llama-cpp-python", "chromadb", "sentence-transformers", "torch")


def conditions() -> str:
    """Date, machine, load, versions and command, as Markdown lines."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return "\n".join(
        [
            f"- date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            f"- machine: {os.cpu_count()} cores, {platform.machine()}, load average {load} at the end",
            f"- versions: Python {platform.python_version()}, {versions}",
            f"- command: `python -m benchmarks.{_module()} {shlex.join(map(_shown, sys.argv[1:]))}`",
        ]
    )


def _module() -> str:
    """A package is run by its `__main__`."""
    script = Path(sys.argv[0])
    return script.parent.name if script.stem == "__main__" else script.stem


def _shown(argument: str) -> str:
    """Of a path only its last part: where it lies on this machine is nobody's matter."""
    return Path(argument).name.upper() if Path(argument).is_absolute() else argument
