"""What a training run tells while it goes on, and what it hands back at its end."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adapters.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Estimate:
    """Told once before the first step, from timing one row. Bytes are of the whole process at its peak.

    num_prefix_tokens: still to be prefilled, once. num_suffix_tokens: to be learned from in each epoch.
    """

    num_rows: int
    num_steps: int
    num_prefix_tokens: int
    num_suffix_tokens: int
    seconds: float
    peak_bytes: int
    precision: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """Told instead of the estimate where a killed run goes on, behind step `step` in epoch `epoch`."""

    step: int
    num_steps: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Told after each optimiser step. loss: mean over the answer tokens of the step, in nats.

    tokens_per_second counts prompt and answer tokens that were learned from, reused prefixes included.
    """

    step: int
    num_steps: int
    epoch: int
    loss: float
    learning_rate: float
    tokens_per_second: float
    remaining_seconds: float


@dataclass(frozen=True, slots=True)
class RefusalBalance:
    """How a voice refuses; see `adapters.training.refusals`.

    bias: logits to add for the best balance. refused, wrongly_refused: shares of unanswerable and answerable rows at
    that bias. auroc: how well the two kinds are told apart, 0.5 is chance; it does not depend on the bias.
    """

    bias: float
    refused: float
    wrongly_refused: float
    auroc: float
    num_unanswerable: int
    num_answerable: int


@dataclass(frozen=True, slots=True)
class EpochResult:
    """Losses are means over answer tokens, in nats; validation_loss is None without validation rows.

    refusals: how the validation rows are refused; None where they hold no refusals.
    """

    epoch: int
    training_loss: float
    validation_loss: float | None
    refusals: RefusalBalance | None
    seconds: float
    is_best: bool


TrainingEvent = Estimate | Resumed | Progress | EpochResult
OnProgress = Callable[[TrainingEvent], None]


def ignore(event: TrainingEvent) -> None:
    """For callers who want no news."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What came out. `adapter` is a PEFT folder with the weights of the best epoch; `recipe` has precision resolved.

    base_validation_loss is the base's own, without adapter. num_tokens counts as Progress.tokens_per_second does.
    seconds: of work, over all parts of a run that was interrupted; num_resumed: how often it was.
    """

    adapter: Path
    recipe: Recipe
    epochs: tuple[EpochResult, ...]
    best_epoch: int
    base_validation_loss: float | None
    num_rows: int
    num_tokens: int
    seconds: float
    tokens_per_second: float
    peak_bytes: int
    estimate: Estimate
    num_resumed: int = 0
