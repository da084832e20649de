"""Where a run stands, on disk, so that a killed one goes on as if nothing had happened.

One safetensors file holds all that the next step depends on: the adapter's weights, the optimiser's moments, the random
generators, and in its metadata the counters and results so far. It is written beside the old one, flushed, and renamed
over it, so a kill at any time leaves one whole state. The order of the rows is drawn anew from the seed, and the
learning rate follows from the step.

A state belongs to one base, one set of rows and one recipe (`Identity`); to any other run it is refused by name.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from adapters.training.dataset import TrainingRow
from adapters.training.progress import EpochResult, Estimate, RefusalBalance
from adapters.training.recipe import OUTCOME_FREE, Recipe
from config.errors import BadRequestError

STATE_FILE = "state.safetensors"
FORMAT = 1
MOMENTS = ("exp_avg", "exp_avg_sq")
HOST_CHANCE, DEVICE_CHANCE = "chance.host", "chance.device"


@dataclass(frozen=True, slots=True)
class Identity:
    """What decides the outcome: hashes of the base file and of both sets of rows, and the recipe's deciding fields."""

    base: str
    examples: str
    validation: str
    recipe: Mapping[str, object]

    def difference(self, other: "Identity") -> str:
        """What differs, for people; empty where nothing does."""
        named = {"base": "base", "examples": "training rows", "validation": "validation rows"}
        parts = [f"other {text}" for name, text in named.items() if getattr(self, name) != getattr(other, name)]
        keys = sorted({*self.recipe, *other.recipe})
        changed = [key for key in keys if self.recipe.get(key) != other.recipe.get(key)]
        values = [f"{key} = {self.recipe.get(key)!r} (now {other.recipe.get(key)!r})" for key in changed]
        return ", ".join([*parts, *values])


@dataclass(slots=True)
class RunState:
    """How far a run is. `losses` are of the steps of the epoch under way; `epochs` of those that ended.

    seconds, training_seconds and epoch_seconds count work, not the time between a kill and the next start.
    """

    estimate: Estimate | None = None
    base_validation_loss: float | None = None
    step: int = 0
    losses: list[float] = field(default_factory=list)
    epochs: list[EpochResult] = field(default_factory=list)
    num_tokens: int = 0
    seconds: float = 0.0
    training_seconds: float = 0.0
    epoch_seconds: float = 0.0
    peak_bytes: int = 0
    num_resumed: int = 0


def identity_of(base: Path, rows: Sequence[TrainingRow], validation: Sequence[TrainingRow], recipe: Recipe) -> Identity:
    """`recipe` with its precision resolved. Reads the whole base file once."""
    with base.open("rb") as file:
        of_base = hashlib.file_digest(file, "sha256").hexdigest()
    values = {name: value for name, value in dataclasses.asdict(recipe).items() if name not in OUTCOME_FREE}
    return Identity(of_base, _hash(rows), _hash(validation), json.loads(json.dumps(values)))


def save_state(folder: Path, identity: Identity, state: RunState, model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Replace the folder's state at once."""
    tensors = {HOST_CHANCE: torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors[DEVICE_CHANCE] = torch.cuda.get_rng_state()
    for name, parameter in trained(model).items():
        tensors[f"weight.{name}"] = parameter.detach().cpu().contiguous()
        for moment, value in optimizer.state[parameter].items():
            tensors[f"{moment}.{name}"] = value.detach().cpu().contiguous()
    values = {"format": FORMAT, "identity": dataclasses.asdict(identity), "state": dataclasses.asdict(state)}
    partial = folder / f"{STATE_FILE}.partial"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, partial, {"run": json.dumps(values)})
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.rename(folder / STATE_FILE)


def read_state(folder: Path) -> tuple[Identity, RunState] | None:
    """None where nothing was interrupted here. Raises BadRequestError for a file that is no state of this release."""
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            values = json.loads(file.metadata()["run"])
        if values["format"] != FORMAT:
            raise _unusable(path, f"it has format {values['format']}, this release reads {FORMAT}")
        return Identity(**values["identity"]), _state(values["state"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise _unusable(path, str(error)) from error


def restore(folder: Path, model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Weights, moments and random generators as they were. Raises BadRequestError where the file does not fit."""
    path = folder / STATE_FILE
    try:
        with safe_open(path, "pt") as file, torch.no_grad():
            for name, parameter in trained(model).items():
                parameter.copy_(file.get_tensor(f"weight.{name}"))
                moments = {moment: file.get_tensor(f"{moment}.{name}") for moment in MOMENTS}
                steps = file.get_tensor(f"step.{name}")
                optimizer.state[parameter] = {
                    "step": steps,
                    **{moment: value.to(parameter.device) for moment, value in moments.items()},
                }
            torch.set_rng_state(file.get_tensor(HOST_CHANCE))
            if torch.cuda.is_available():
                torch.cuda.set_rng_state(file.get_tensor(DEVICE_CHANCE))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise _unusable(path, str(error)) from error


def trained(model: Any) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def epoch_of(values: Mapping[str, Any]) -> EpochResult:
    """From JSON."""
    refusals = values["refusals"]
    return EpochResult(**{**values, "refusals": RefusalBalance(**refusals) if refusals else None})


def _state(values: Mapping[str, Any]) -> RunState:
    estimate = values["estimate"]
    made = {
        "estimate": Estimate(**estimate) if estimate else None,
        "epochs": [epoch_of(epoch) for epoch in values["epochs"]],
    }
    return RunState(**{**values, **made})


def _hash(rows: Sequence[TrainingRow]) -> str:
    return hashlib.sha256(json.dumps([dataclasses.astuple(row) for row in rows]).encode()).hexdigest()


def _unusable(path: Path, reason: str) -> BadRequestError:
    return BadRequestError(
        f"The interrupted run in {path.parent.parent} cannot be continued: {reason}.",
        "resume",
        hint="Begin anew with --restart, or choose another folder.",
    )
