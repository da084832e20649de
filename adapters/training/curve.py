"""The learning curve of a run, kept beside its adapter: one JSON object a line, readable while the run goes on.

{"step": 12, "epoch": 1, "loss": 1.93, "learning_rate": 0.0004, "tokens_per_second": 410.2}
{"step": 40, "epoch": 1, "training_loss": 1.61, "validation_loss": 1.4, "seconds": 88.1}
"""

import json
from pathlib import Path

from adapters.training.progress import EpochResult, Progress

CURVE_FILE = "curve.jsonl"


class Curve:
    """Appends points; the file is whole after each."""

    def __init__(self, path: Path, num_steps_done: int = 0, num_epochs_done: int = 0) -> None:
        """Points behind what was done are dropped: a killed run computes them again."""
        self._path = path
        kept = [line for line in _lines(path) if _is_done(line, num_steps_done, num_epochs_done)]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def add_step(self, told: Progress) -> None:
        self._add(
            step=told.step,
            epoch=told.epoch,
            loss=round(told.loss, 6),
            learning_rate=told.learning_rate,
            tokens_per_second=round(told.tokens_per_second, 1),
        )

    def add_epoch(self, step: int, ended: EpochResult) -> None:
        self._add(
            step=step,
            epoch=ended.epoch,
            training_loss=ended.training_loss,
            validation_loss=ended.validation_loss,
            seconds=round(ended.seconds, 1),
        )

    def _add(self, **values: float | None) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


def read_losses(path: Path) -> list[tuple[int, float]]:
    """Step and training loss of each step; empty without a file."""
    points = [json.loads(line) for line in _lines(path)]
    return [(point["step"], point["loss"]) for point in points if "loss" in point]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _is_done(line: str, num_steps: int, num_epochs: int) -> bool:
    """A line that the kill cut short is not."""
    try:
        point = json.loads(line)
        is_epoch = "training_loss" in point
        return bool(point["epoch"] <= num_epochs if is_epoch else point["step"] <= num_steps)
    except (ValueError, KeyError, TypeError):
        return False
