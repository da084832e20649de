"""One command's worth: from an example file to a checked GGUF adapter with its card."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

from adapters.convert import convert_adapter
from adapters.examples import read_examples
from adapters.gguf_check import check_adapter
from adapters.registry import Card
from adapters.training.progress import OnProgress, TrainingResult, ignore
from adapters.training.recipe import Recipe
from config.models import ModelFile

GGUF_FILE = "adapter.gguf"


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
    base: ModelFile, given: TrainingInput, recipe: Recipe, output: Path, on_progress: OnProgress = ignore
) -> MadeAdapter:
    """Read, train, convert, check. Everything is written below `output`.

    Raises BadRequestError for bad rows, ModelError for a base that cannot be trained on.
    """
    examples = read_examples(given.examples, given.instructions)
    validation = read_examples(given.validation, given.instructions) if given.validation else ()
    from adapters.training.trainer import train_adapter

    training = train_adapter(base.path, examples, validation, recipe, output, on_progress)
    gguf = convert_adapter(training.adapter, base.path, base.sha256, given.brand, output / GGUF_FILE)
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
    }
