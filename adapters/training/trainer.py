"""The training loop: PEFT LoRA over kept prefixes, loss on the answers, the best epoch kept.

The method is activated LoRA (arXiv 2504.12397): the adapter is on from the voice boundary, so what stands before it
needs neither gradient nor a second computation.
"""

import dataclasses
import json
import math
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from adapters.examples import Example
from adapters.training.adapter import save_adapter, with_adapter
from adapters.training.base import TrainingBase, load_base
from adapters.training.dataset import TrainingRow, build_rows
from adapters.training.estimate import estimate, peak_bytes
from adapters.training.loss import answer_loss, mean_loss, packs
from adapters.training.prefixes import PrefixStore
from adapters.training.progress import EpochResult, OnProgress, Progress, TrainingResult, ignore
from adapters.training.recipe import Recipe, write_recipe
from adapters.training.refusals import measure_refusals
from adapters.vary import vary_examples
from config.errors import BadRequestError

ADAPTER_FOLDER, CHECKPOINTS_FOLDER = "adapter", "checkpoints"
RECIPE_FILE, RESULT_FILE = "recipe.toml", "result.json"


def train_adapter(
    base: Path,
    examples: Sequence[Example],
    validation: Sequence[Example],
    recipe: Recipe,
    output: Path,
    on_progress: OnProgress = ignore,
) -> TrainingResult:
    """Train one adapter on the GGUF file `base`; see `Trainer.train`. For several on one base keep a `Trainer`."""
    return Trainer.open(base, recipe).train(examples, validation, recipe, output, on_progress)


class Trainer:
    """One opened base and its prefilled prefixes, for any number of adapters one after the other. Not thread-safe."""

    def __init__(self, base: TrainingBase, prefix_budget_bytes: int) -> None:
        self._base = base
        self._prefixes = PrefixStore(base, prefix_budget_bytes)

    @classmethod
    def open(cls, base: Path, recipe: Recipe) -> "Trainer":
        """Precision, threads and prefix budget are those of this recipe. Raises ModelError."""
        return cls(load_base(base, recipe.precision, recipe.threads), recipe.prefix_budget_bytes)

    def train(
        self,
        examples: Sequence[Example],
        validation: Sequence[Example],
        recipe: Recipe,
        output: Path,
        on_progress: OnProgress = ignore,
    ) -> TrainingResult:
        """Write `output`/adapter (PEFT), checkpoints/epoch-N, recipe.toml and result.json; older ones are replaced.

        An interrupted run leaves its finished epochs in checkpoints/ and no adapter/. Raises BadRequestError for no
        examples or for rows that are too long.
        """
        if not examples:
            raise BadRequestError("There are no examples to train on.", "training_file")
        varied = vary_examples(
            examples, shuffle_share=recipe.shuffle_share, number_share=recipe.number_share, seed=recipe.seed
        )
        rows, held_out = self._rows(varied, recipe), self._rows(validation, recipe)
        return _Run(self._base, self._prefixes, recipe, output, on_progress).train(rows, held_out)

    def _rows(self, examples: Sequence[Example], recipe: Recipe) -> tuple[TrainingRow, ...]:
        return build_rows(examples, self._base.turn_format, self._base.encode, max_tokens=recipe.max_tokens)


class _Run:
    """The state of one run: where it writes, what it has told, and how far it is."""

    def __init__(
        self, base: TrainingBase, prefixes: PrefixStore, recipe: Recipe, output: Path, on_progress: OnProgress
    ) -> None:
        self._recipe = dataclasses.replace(recipe, precision="bfloat16" if base.dtype is torch.bfloat16 else "float32")
        self._base = base
        self._prefixes = prefixes
        self._output = output
        self._tell = on_progress
        self._epochs: list[EpochResult] = []
        self._step = 0
        self._num_tokens = 0
        self._training_seconds = 0.0

    def train(self, rows: Sequence[TrainingRow], validation: Sequence[TrainingRow]) -> TrainingResult:
        started = time.monotonic()
        self._prepare_output()
        torch.manual_seed(self._recipe.seed)
        model = with_adapter(self._base, self._recipe)
        try:
            self._tell(estimate(self._base, self._prefixes, rows, validation, self._recipe))
            base_loss = mean_loss(self._base, self._prefixes, validation)
            self._train_epochs(model, rows, validation)
        finally:
            model.unload()
        return self._finish(rows, base_loss, time.monotonic() - started)

    def _prepare_output(self) -> None:
        for name in (ADAPTER_FOLDER, CHECKPOINTS_FOLDER):
            shutil.rmtree(self._output / name, ignore_errors=True)
        self._output.mkdir(parents=True, exist_ok=True)
        write_recipe(self._recipe, self._output / RECIPE_FILE)

    def _train_epochs(self, model: Any, rows: Sequence[TrainingRow], validation: Sequence[TrainingRow]) -> None:
        num_steps = self._recipe.num_epochs * math.ceil(len(rows) / self._recipe.batch_rows)
        optimizer = torch.optim.AdamW(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            lr=self._recipe.learning_rate,
            weight_decay=self._recipe.weight_decay,
        )
        order = random.Random(self._recipe.seed)
        for epoch in range(1, self._recipe.num_epochs + 1):
            started = time.monotonic()
            losses = [
                self._train_step(batch, epoch, num_steps, optimizer)
                for batch in _batches(order.sample(list(rows), len(rows)), self._recipe.batch_rows)
            ]
            self._end_epoch(model, sum(losses) / len(losses), validation, started)
            if self._is_stale():
                return

    def _train_step(self, batch: Sequence[TrainingRow], epoch: int, num_steps: int, optimizer: Any) -> float:
        """One optimiser step; the loss is the mean over all answer tokens of the batch."""
        started = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate * rate_share(self._step, num_steps, self._recipe.warmup_share)
        loss = self._accumulate(batch)
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(trained, self._recipe.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self._step += 1
        self._num_tokens += sum(row.num_tokens for row in batch)
        self._training_seconds += time.monotonic() - started
        remaining = (num_steps - self._step) * self._training_seconds / self._step
        self._tell(Progress(self._step, num_steps, epoch, loss, self._num_tokens / self._training_seconds, remaining))
        return loss

    def _accumulate(self, batch: Sequence[TrainingRow]) -> float:
        num_answer_tokens = sum(row.num_answer_tokens for row in batch)
        total = 0.0
        for pack in packs(batch):
            loss = answer_loss(self._base, self._prefixes, pack, self._recipe.decision_weight) / num_answer_tokens
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        return total

    def _end_epoch(self, model: Any, loss: float, validation: Sequence[TrainingRow], started: float) -> None:
        number = len(self._epochs) + 1
        validation_loss = mean_loss(self._base, self._prefixes, validation)
        earlier = [epoch.validation_loss for epoch in self._epochs if epoch.validation_loss is not None]
        is_best = validation_loss is None or validation_loss < min(earlier, default=math.inf)
        refusals = measure_refusals(self._base, self._prefixes, validation)
        save_adapter(model, self._base, self._output / CHECKPOINTS_FOLDER / f"epoch-{number}")
        seconds = time.monotonic() - started
        self._epochs.append(EpochResult(number, loss, validation_loss, refusals, seconds, is_best))
        self._tell(self._epochs[-1])

    @property
    def _best(self) -> EpochResult:
        return [epoch for epoch in self._epochs if epoch.is_best][-1]

    def _is_stale(self) -> bool:
        return 0 < self._recipe.patience <= len(self._epochs) - self._best.epoch

    def _finish(self, rows: Sequence[TrainingRow], base_loss: float | None, seconds: float) -> TrainingResult:
        """The adapter folder appears last and whole: it marks a finished run."""
        result = TrainingResult(
            adapter=self._output / ADAPTER_FOLDER,
            recipe=self._recipe,
            epochs=tuple(self._epochs),
            best_epoch=self._best.epoch,
            base_validation_loss=base_loss,
            num_rows=len(rows),
            num_tokens=self._num_tokens,
            seconds=seconds,
            tokens_per_second=self._num_tokens / self._training_seconds,
            peak_bytes=peak_bytes(),
        )
        _write_result(result, self._output / RESULT_FILE)
        partial = self._output / f"{ADAPTER_FOLDER}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(self._output / CHECKPOINTS_FOLDER / f"epoch-{result.best_epoch}", partial)
        partial.rename(result.adapter)
        return result


def rate_share(step: int, num_steps: int, warmup_share: float) -> float:
    """Share of the peak learning rate at `step` (from 0): a linear rise over the warm-up, then a linear fall to 0."""
    num_warmup = max(1, round(num_steps * warmup_share))
    rising = (step + 1) / num_warmup
    falling = (num_steps - step) / max(1, num_steps - num_warmup + 1)
    return min(1.0, rising, falling)


def _batches(rows: Sequence[TrainingRow], num_rows: int) -> Iterator[Sequence[TrainingRow]]:
    return (rows[start : start + num_rows] for start in range(0, len(rows), num_rows))


def _write_result(result: TrainingResult, path: Path) -> None:
    values = dataclasses.asdict(result) | {"adapter": result.adapter.name}
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")
