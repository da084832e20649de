"""From what a client ordered to a plan that can be trained: the recipe with its numbers, the files, the limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from adapters.jobs.files import Purpose, TrainingFile
from adapters.jobs.job import Plan
from adapters.training.recipe import Recipe, read_recipe
from config.brands import Brand
from config.errors import BadRequestError
from config.settings import TrainingSettings


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client ordered. None: as the recipe has it; seed is always a number."""

    model: str
    training_file: str
    validation_file: str | None
    seed: int
    num_epochs: int | None = None
    batch_rows: int | None = None
    learning_rate_multiplier: float | None = None
    suffix: str | None = None
    metadata: Mapping[str, str] | None = field(default=None, hash=False)


def plan_of(
    wish: Wish, brand: Brand, training: TrainingFile, validation: TrainingFile | None, settings: TrainingSettings
) -> Plan:
    """Raises BadRequestError that names the parameter, ConfigError for a training.recipe that cannot be read."""
    _check_rows(training, settings)
    if validation is not None:
        _check_validation(training, validation)
    return Plan(
        brand=brand.name,
        instructions=brand.system_prompt,
        recipe=_recipe(wish, settings),
        training_file=training.file_id,
        validation_file=validation.file_id if validation else None,
        num_rows=training.num_rows,
        num_validation_rows=validation.num_rows if validation else 0,
        learning_rate_multiplier=wish.learning_rate_multiplier or 1.0,
        suffix=wish.suffix,
        metadata=wish.metadata,
    )


def _check_rows(training: TrainingFile, settings: TrainingSettings) -> None:
    _check_purpose(training, "training_file")
    if training.num_rows < settings.min_rows:
        raise BadRequestError(
            f"{training.name} has {training.num_rows} rows; below {settings.min_rows} an adapter learns the rows, not"
            " the voice.",
            "training_file",
            "too_few_rows",
            "Write more pairs (100 to 500 is the useful range), or use the brand's prompt alone.",
        )


def _check_validation(training: TrainingFile, validation: TrainingFile) -> None:
    _check_purpose(validation, "validation_file")
    if validation.sha256 == training.sha256:
        raise BadRequestError(
            "The validation file holds the very rows that are trained on.",
            "validation_file",
            hint="Hold out other rows: housevoice adapter curate --heldout-share makes such files.",
        )


def _check_purpose(file: TrainingFile, param: str) -> None:
    if file.purpose is not Purpose.FINE_TUNE:
        raise BadRequestError(f"{file.file_id} is of purpose {file.purpose}, not fine-tune.", param)


def _recipe(wish: Wish, settings: TrainingSettings) -> Recipe:
    """The threads are settled here: a job that is continued must find the recipe it began with."""
    recipe = read_recipe(Path(settings.recipe).expanduser()) if settings.recipe else Recipe()
    return replace(
        recipe,
        seed=wish.seed,
        threads=settings.num_threads,
        num_epochs=wish.num_epochs or recipe.num_epochs,
        batch_rows=wish.batch_rows or recipe.batch_rows,
        learning_rate=recipe.learning_rate * (wish.learning_rate_multiplier or 1.0),
    )
