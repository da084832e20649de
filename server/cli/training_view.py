"""A training run as a person sees it: the learning curve while it grows, and what was promised beside what it took."""

import itertools
from collections.abc import Sequence

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from adapters.training.progress import EpochResult, Estimate, RefusalBalance, Resumed, TrainingEvent, TrainingResult
from adapters.training.progress import Progress as Step
from server.cli.console import err, note

BARS = "▁▂▃▄▅▆▇█"
CURVE_WIDTH = 24


class TrainingView:
    """One live line with loss, curve, rate and time left; a lasting line for the estimate and for each epoch."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
        self._bar = Progress(*columns, console=err, transient=True)
        self._task = self._bar.add_task("reading the base", total=None)
        self._losses: list[float] = []

    def __enter__(self) -> "TrainingView":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, event: TrainingEvent) -> None:
        match event:
            case Estimate():
                note(
                    f"{event.num_rows} rows, {event.num_steps} steps in {event.precision}:"
                    f" about {minutes(event.seconds)} and {gigabytes(event.peak_bytes)}"
                )
            case Resumed():
                note(f"going on behind step {event.step} of {event.num_steps}, in epoch {event.epoch}")
            case Step():
                self._losses.append(event.loss)
                self._bar.update(self._task, description=self._line(event), completed=event.step, total=event.num_steps)
            case EpochResult():
                note(epoch_line(event))
                if event.refusals:
                    note(refusals_line(event.refusals))

    def _line(self, step: Step) -> str:
        return (
            f"epoch {step.epoch}  loss {step.loss:.3f} {sparkline(self._losses)}  rate {step.learning_rate:.1e}"
            f"  {step.tokens_per_second:.0f} tokens/s  {minutes(step.remaining_seconds)} left"
        )


def sparkline(values: Sequence[float], width: int = CURVE_WIDTH) -> str:
    """The whole curve in `width` characters or fewer, each the mean of its share of the values."""
    num_bins = min(width, len(values))
    edges = [place * len(values) // num_bins for place in range(num_bins + 1)] if num_bins else []
    means = [sum(values[start:end]) / (end - start) for start, end in itertools.pairwise(edges)]
    low, high = min(means, default=0.0), max(means, default=0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)


def epoch_line(ended: EpochResult) -> str:
    held = "" if ended.validation_loss is None else f", held out {ended.validation_loss:.3f}"
    best = ", the best so far" if ended.is_best and ended.validation_loss is not None else ""
    return f"epoch {ended.epoch}: loss {ended.training_loss:.3f}{held}{best} ({minutes(ended.seconds)})"


def refusals_line(found: RefusalBalance) -> str:
    return (
        f"  with refusal_bias = {found.bias} in the brand's file it refuses {found.refused:.0%} of the unanswerable"
        f" and {found.wrongly_refused:.0%} of the answerable held-out rows (AUROC {found.auroc:.2f})"
    )


def show_cost(result: TrainingResult) -> None:
    """What was estimated before the first step beside what it was in the end."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "estimated", "measured"):
        table.add_column(column)
    table.add_row("time", minutes(result.estimate.seconds), minutes(result.seconds))
    table.add_row("peak memory", gigabytes(result.estimate.peak_bytes), gigabytes(result.peak_bytes))
    err.print(table)
    note(f"best epoch {result.best_epoch} of {len(result.epochs)}; {result.tokens_per_second:.0f} tokens/s")


def minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB"
