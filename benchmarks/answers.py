"""Are two greedy answers the same? And under which conditions was a result measured? Shared by the benchmarks.

Kernels round differently for other numbers of batch rows, so an answer may part from its reference where the
reference's two best logits lie close together; anywhere else it must not.
"""

import os
import platform
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Literal

NEAR = 0.1
"""Logits closer than this are a near tie."""

Verdict = Literal["equal", "parted at a near tie", "different"]
VERDICTS: tuple[Verdict, ...] = ("equal", "parted at a near tie", "different")
PACKAGES = ("llama-cpp-python", "chromadb", "sentence-transformers", "torch")


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer. `gap` lies between its position's best and second best logit."""

    text: str
    gap: float


def compare(reference: Sequence[Token], answer: Sequence[Token]) -> Verdict:
    """An answer that ends where its reference writes on parts there; one that writes on is different."""
    place = next(
        (k for k, (one, other) in enumerate(zip(reference, answer, strict=False)) if one.text != other.text), None
    )
    if place is None:
        if len(reference) == len(answer):
            return "equal"
        if len(answer) > len(reference):
            return "different"
        place = len(answer)
    return "parted at a near tie" if reference[place].gap < NEAR else "different"


def tally(verdicts: Iterable[Verdict]) -> str:
    counts = Counter(verdicts)
    return ", ".join(f"{counts[name]} {name}" for name in VERDICTS)


def conditions() -> str:
    """Date, machine, load, versions and command, as Markdown lines."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return "\n".join(
        [
            f"- date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            f"- machine: {os.cpu_count()} cores, {platform.machine()}, load average {load} at the end",
            f"- versions: Python {platform.python_version()}, {versions}",
            f"- command: `python {shlex.join(sys.argv)}`",
        ]
    )
