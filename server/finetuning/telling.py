"""What a job's process told, as events and checkpoints for people. Decides only; nothing is written here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.jobs.files import TrainingFile
from adapters.jobs.job import Checkpoint, Fault, Job, Metrics, Plan, Said
from adapters.jobs.order import Made, Told
from adapters.training.progress import EpochResult, Estimate, Progress, RefusalBalance, Resumed


@dataclass(frozen=True, slots=True)
class Telling:
    """said: events with their Unix seconds. expected_unix_seconds: of the end, None where nothing new is known of it.

    ending: the last word of the process, None where it has not come.
    """

    said: tuple[tuple[int, Said], ...]
    checkpoints: tuple[Checkpoint, ...]
    expected_unix_seconds: int | None
    ending: Made | Fault | None


def telling_of(job: Job, told: Sequence[Told]) -> Telling:
    said, checkpoints = [], []
    expected, ending = None, None
    for item in told:
        match item.news:
            case Estimate() as estimate:
                said.append((item.unix_seconds, _estimate(estimate)))
                expected = item.unix_seconds + round(estimate.seconds)
            case Progress() as progress:
                said.append((item.unix_seconds, _progress(progress)))
                expected = item.unix_seconds + round(progress.remaining_seconds)
            case EpochResult() as epoch:
                checkpoints.append(_checkpoint(job, epoch, item.unix_seconds))
                said.append((item.unix_seconds, _epoch(job, checkpoints[-1], epoch)))
            case Resumed() as resumed:
                said.append((item.unix_seconds, _resumed(resumed)))
            case Said() as words:
                said.append((item.unix_seconds, words))
            case Made() | Fault():
                ending = item.news
    return Telling(tuple(said), tuple(checkpoints), expected, ending)


def created(plan: Plan, training: TrainingFile, validation: TrainingFile | None) -> list[Said]:
    """A job's first events: what was accepted, and what somebody should look at before it is learned."""
    held_out = f"{validation.num_rows} validation rows" if validation else "no validation rows"
    said = [Said(f"Created for {plan.brand}: {training.num_rows} training and {held_out} accepted.")]
    look = "housevoice adapter curate shows them"
    if training.num_private:
        said.append(Said(f"{training.num_private} rows hold what looks like personal data or secrets: {look}.", "warn"))
    if training.num_repeated:
        said.append(Said(f"{training.num_repeated} rows repeat others word for word: {look}.", "warn"))
    return said


def duration(seconds: float) -> str:
    """For people: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3600:.1f} h"


def finite(value: float | None) -> float | None:
    """None for what JSON cannot say."""
    return value if value is not None and math.isfinite(value) else None


def metrics_of(**values: float | None) -> Metrics:
    return {name: number for name, value in values.items() if (number := finite(value)) is not None}


def _estimate(estimate: Estimate) -> Said:
    return Said(
        f"{estimate.num_rows} rows, {estimate.num_steps} steps in {estimate.precision}: about"
        f" {duration(estimate.seconds)} and {estimate.peak_bytes / 1e9:.1f} GB of memory on this machine."
    )


def _resumed(resumed: Resumed) -> Said:
    return Said(f"What was learned by step {resumed.step} of {resumed.num_steps} had been kept; it goes on from there.")


def _progress(progress: Progress) -> Said:
    return Said(
        f"Step {progress.step}/{progress.num_steps}: training loss={progress.loss:.4f}",
        metrics=metrics_of(
            step=progress.step,
            train_loss=progress.loss,
            tokens_per_second=round(progress.tokens_per_second, 1),
            remaining_seconds=round(progress.remaining_seconds, 1),
        ),
    )


def _checkpoint(job: Job, epoch: EpochResult, unix_seconds: int) -> Checkpoint:
    return Checkpoint(
        job_id=job.job_id,
        epoch=epoch.epoch,
        step=epoch.epoch * job.plan.steps_per_epoch,
        training_loss=finite(epoch.training_loss),
        validation_loss=finite(epoch.validation_loss),
        is_best=epoch.is_best,
        unix_seconds=unix_seconds,
    )


def _epoch(job: Job, checkpoint: Checkpoint, epoch: EpochResult) -> Said:
    held_out = "" if epoch.validation_loss is None else f", validation loss={epoch.validation_loss:.4f}"
    refusals = f" {_refusals(epoch.refusals)}" if epoch.refusals else ""
    return Said(
        f"Epoch {epoch.epoch} of {job.plan.recipe.num_epochs}: training loss={epoch.training_loss:.4f}{held_out}"
        f" ({duration(epoch.seconds)}).{refusals}",
        metrics=metrics_of(
            epoch=epoch.epoch,
            step=checkpoint.step,
            train_loss=epoch.training_loss,
            valid_loss=epoch.validation_loss,
            full_valid_loss=epoch.validation_loss,
        ),
    )


def _refusals(found: RefusalBalance) -> str:
    return (
        f"With refusal_bias = {found.bias} in the brand's file it refuses {found.refused:.0%} of the unanswerable and"
        f" {found.wrongly_refused:.0%} of the answerable validation rows."
    )
