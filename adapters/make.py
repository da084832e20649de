"""One command's worth: from an example file to a checked GGUF adapter with its card."""

import dataclasses
import hashlib
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.convert import convert_adapter
from adapters.examples import read_examples
from adapters.gguf_check import check_adapter
from adapters.identity import template_sha256
from adapters.registry import Card, file_sha256
from adapters.training.curve import CURVE_FILE, read_losses
from adapters.training.progress import OnProgress, TrainingResult, ignore
from adapters.training.recipe import Recipe
from config.errors import BadRequestError
from config.gguf_header import read_header
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
    """A file that passed `check_adapter`, ready for `Registry.register`. rows: the example files as they were read."""

    gguf: Path
    card: Card
    training: TrainingResult
    rows: tuple[Path, ...] = ()


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
    given = _with_own_files(given, output)
    examples = read_examples(given.examples, given.instructions)
    validation = read_examples(given.validation, given.instructions) if given.validation else ()
    from adapters.training.trainer import train_adapter

    training = train_adapter(base.path, examples, validation, recipe, output, on_progress, restart=restart)
    gguf = convert_adapter(
        training.adapter, base.path, base.sha256, given.brand, output / GGUF_FILE, training.recipe.lora
    )
    check_adapter(gguf, base.path, base.sha256)
    rows = (given.examples, *((given.validation,) if given.validation else ()))
    return MadeAdapter(gguf, training_card(base, given, training), training, rows)


def _with_own_files(given: TrainingInput, output: Path) -> TrainingInput:
    """Copies below `output`: what is kept as the version's rows is what it was trained on, whatever is edited
    meanwhile.
    """
    rows = output / "rows"
    rows.mkdir(parents=True, exist_ok=True)
    validation = _copy(given.validation, rows / "validation.jsonl") if given.validation else None
    return dataclasses.replace(given, examples=_copy(given.examples, rows / "examples.jsonl"), validation=validation)


def _copy(path: Path, target: Path) -> Path:
    try:
        if path.absolute() != target.absolute():
            shutil.copyfile(path, target)
    except OSError as error:
        raise BadRequestError(f"The example file {path} cannot be read: {error}.", "training_file") from error
    return target


def training_card(base: ModelFile, given: TrainingInput, training: TrainingResult) -> Card:
    """Everything that training it again needs, by hash where it is long, and how the training went."""
    header = read_header(base.path)
    return {
        "base_name": base.name,
        "tokenizer_sha256": header.tokenizer_sha256,
        "template_sha256": template_sha256(header),
        "examples_sha256": file_sha256(given.examples),
        "validation_sha256": file_sha256(given.validation) if given.validation else None,
        "instructions_sha256": hashlib.sha256(given.instructions.encode()).hexdigest(),
        "started_from": _weights_sha256(training.recipe.start_from),
        "fact_layout": training.recipe.fact_layout,
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


def _weights_sha256(folder: str) -> str | None:
    """Of the adapter that the training went on from; None where it started fresh or the folder is gone."""
    path = Path(folder) / "adapter_model.safetensors"
    return file_sha256(path) if folder and path.is_file() else None


def _cost(seconds: float, peak_bytes: int) -> dict[str, float]:
    return {"seconds": round(seconds, 1), "peak_gigabytes": round(peak_bytes / 1e9, 2)}


def thinned(points: Sequence[tuple[int, float]], limit: int) -> list[tuple[int, float]]:
    """At most `limit` of them, evenly, the last one kept."""
    step = max(1, math.ceil(len(points) / limit))
    return [point for place, point in enumerate(points) if (len(points) - 1 - place) % step == 0]
