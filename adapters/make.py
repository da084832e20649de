"""One command's worth: from an example file to a checked GGUF adapter with its card."""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.convert import convert_adapter
from adapters.examples import read_examples
from adapters.gguf_check import check_adapter
from adapters.registry import Card
from adapters.training.curve import CURVE_FILE, read_losses
from adapters.training.progress import OnProgress, TrainingResult, ignore
from adapters.training.recipe import Recipe
from config.models import ModelFile

GGUF_FILE = "adapter.gguf"
CURVE_POINTS = 200
"""In the card; the whole curve lies beside the run."""


@dataclass(frozen=True, slots=True)
class TrainingInput:
    """What is learned. instructions: the brand's system prompt. validation: held-out rows, None for none."""

    brand: str
    instructions: str
    examples: Path
    validation: Path | None = None


@dataclass(frozen=True, slots=True)
class MadeAdapter:
    """A file that passed `check_adapter`, ready for `Registry.register`."""

    gguf: Path
    card: Card
    training: TrainingResult


def make_adapter(
    base: ModelFile,
    given: TrainingInput,
    recipe: Recipe,
    output: Path,
    on_progress: OnProgress = ignore,
    *,
    restart: bool = False,
) -> MadeAdapter:
    """Read, train, convert, check. Everything is written below `output`.

    What was killed on the way goes on where it stopped when it is called with the same again, see `Trainer.train`.
    Raises BadRequestError for bad rows, ModelError for a base that cannot be trained on.
    """
    examples = read_examples(given.examples, given.instructions)
    validation = read_examples(given.validation, given.instructions) if given.validation else ()
    from adapters.training.trainer import train_adapter

    training = train_adapter(base.path, examples, validation, recipe, output, on_progress, restart=restart)
    gguf = convert_adapter(
        training.adapter, base.path, base.sha256, given.brand, output / GGUF_FILE, training.recipe.lora
    )
    check_adapter(gguf, base.path, base.sha256)
    return MadeAdapter(gguf, training_card(base, given, training), training)


def training_card(base: ModelFile, given: TrainingInput, training: TrainingResult) -> Card:
    return {
        "base_name": base.name,
        "examples_sha256": hashlib.sha256(given.examples.read_bytes()).hexdigest(),
        "recipe": dataclasses.asdict(training.recipe),
        "num_rows": training.num_rows,
        "base_validation_loss": training.base_validation_loss,
        "epochs": [dataclasses.asdict(epoch) for epoch in training.epochs],
        "best_epoch": training.best_epoch,
        "training_seconds": round(training.seconds, 1),
        "estimated": _cost(training.estimate.seconds, training.estimate.peak_bytes),
        "measured": _cost(training.seconds, training.peak_bytes),
        "tokens_per_second": round(training.tokens_per_second, 1),
        "curve": thinned(read_losses(training.adapter.parent / CURVE_FILE), CURVE_POINTS),
    }


def _cost(seconds: float, peak_bytes: int) -> dict[str, float]:
    return {"seconds": round(seconds, 1), "peak_gigabytes": round(peak_bytes / 1e9, 2)}


def thinned(points: Sequence[tuple[int, float]], limit: int) -> list[tuple[int, float]]:
    """At most `limit` of them, evenly, the last one kept."""
    step = max(1, math.ceil(len(points) / limit))
    return [point for place, point in enumerate(points) if (len(points) - 1 - place) % step == 0]
