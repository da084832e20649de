"""Which folder and recipe a training command means: a new run, the same one again, or one that was interrupted."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

from adapters.make import TrainingInput
from adapters.training.recipe import RECIPE_FILE, Recipe, read_recipe
from config.errors import BadRequestError
from config.fact_layout import FactLayout
from config.settings import Settings

RUNS_FOLDER = "training/runs"
NAME_LENGTH = 12


def choose_recipe(
    resume: Path | None,
    path: Path | None,
    epochs: int | None,
    rank: int | None,
    fact_layout: FactLayout | None = None,
) -> Recipe:
    """Raises BadRequestError where a run is to go on with another recipe, or there is none to go on with."""
    if resume is not None:
        if path or (epochs, rank, fact_layout) != (None, None, None):
            raise BadRequestError(
                "An interrupted run goes on with its own recipe.",
                "resume",
                hint="Leave out --recipe, --epochs, --rank, --fact-layout.",
            )
        return _recipe_of(resume)
    recipe = read_recipe(path) if path else Recipe()
    if epochs is not None:
        recipe = replace(recipe, num_epochs=epochs)
    if fact_layout is not None:
        recipe = replace(recipe, fact_layout=fact_layout)
    return recipe if rank is None else replace(recipe, rank=rank, alpha=2.0 * rank)


def run_folder(settings: Settings, given: TrainingInput, recipe: Recipe, base_sha256: str) -> Path:
    """Below the data directory, named by what is trained: the same command finds the same folder after a kill."""
    hashed = hashlib.sha256(json.dumps([given.instructions, asdict(recipe), base_sha256]).encode())
    for path in (given.examples, given.validation):
        hashed.update(path.read_bytes() if path else b"")
    return settings.data.root / RUNS_FOLDER / given.brand / hashed.hexdigest()[:NAME_LENGTH]


def _recipe_of(folder: Path) -> Recipe:
    if not (folder / RECIPE_FILE).is_file():
        raise BadRequestError(
            f"{folder} holds no training run.",
            "resume",
            hint="Name the folder that `adapter train` told, or its --out.",
        )
    return read_recipe(folder / RECIPE_FILE)
