"""One training run: PEFT LoRA over kept prefixes, loss on the answers, the best epoch kept, a state to go on from.

The method is activated LoRA (arXiv 2504.12397): the adapter is on from the voice boundary, so what stands before it
needs neither gradient nor a second computation. A plain LoRA is the same loop with empty prefixes.
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

from adapters.training.adapter import adapter_off, save_adapter, with_adapter
from adapters.training.base import TrainingBase, precision_of
from adapters.training.checkpoint import (
    STATE_FILE,
    Identity,
    RunState,
    epoch_of,
    identity_of,
    read_state,
    restore,
    save_state,
    trained,
)
from adapters.training.curve import CURVE_FILE, Curve
from adapters.training.dataset import TrainingRow
from adapters.training.estimate import estimate, peak_bytes
from adapters.training.loss import answer_loss, mean_loss, packs
from adapters.training.prefixes import PrefixStore
from adapters.training.progress import EpochResult, Estimate, OnProgress, Progress, Resumed, TrainingResult
from adapters.training.recipe import RECIPE_FILE, Recipe, write_recipe
from adapters.training.refusals import measure_refusals
from config.errors import BadRequestError

ADAPTER_FOLDER, CHECKPOINTS_FOLDER, RESULT_FILE = "adapter", "checkpoints", "result.json"
Rows = Sequence[TrainingRow]


class Run:
    """The state of one run: where it writes, what it has told, and how far it is."""

    def __init__(
        self, base: TrainingBase, prefixes: PrefixStore, recipe: Recipe, output: Path, on_progress: OnProgress
    ) -> None:
        self._recipe = dataclasses.replace(recipe, precision=precision_of(base))
        self._base = base
        self._prefixes = prefixes
        self._output = output
        self._checkpoints = output / CHECKPOINTS_FOLDER
        self._tell = on_progress
        self._state = RunState()
        self._saved_at = self._counted_at = time.monotonic()

    def train(self, rows: Rows, validation: Rows, *, restart: bool = False) -> TrainingResult:
        """From the last checkpoint where there is one; without training where the very run has ended already."""
        self._rows, self._validation = rows, validation
        self._num_steps = self._recipe.num_epochs * math.ceil(len(rows) / self._recipe.batch_rows)
        self._identity = identity_of(self._base.path, rows, validation, self._recipe)
        if not restart:
            ended = read_result(self._output, self._identity)
            if ended:
                return ended
            self._find_interrupted()
        self._prepare_output()
        torch.manual_seed(self._recipe.seed)
        model = with_adapter(self._base, self._recipe)
        try:
            optimizer = self._optimizer(model)
            self._begin(model, optimizer)
            self._train_epochs(model, optimizer)
        finally:
            model.unload()
        return self._finish()

    def _find_interrupted(self) -> None:
        found = read_state(self._checkpoints)
        if found is None:
            return
        identity, state = found
        difference = identity.difference(self._identity)
        if difference:
            raise BadRequestError(
                f"{self._output} holds the checkpoint of another run: {difference}.",
                "resume",
                hint="Choose another folder, or begin anew there with --restart.",
            )
        self._state = dataclasses.replace(state, num_resumed=state.num_resumed + 1)

    def _prepare_output(self) -> None:
        """What an earlier run left goes, except for the epochs of the run that goes on."""
        shutil.rmtree(self._output / ADAPTER_FOLDER, ignore_errors=True)
        (self._output / RESULT_FILE).unlink(missing_ok=True)
        if not self._state.num_resumed:
            shutil.rmtree(self._checkpoints, ignore_errors=True)
        self._output.mkdir(parents=True, exist_ok=True)
        write_recipe(self._recipe, self._output / RECIPE_FILE)
        self._curve = Curve(self._output / CURVE_FILE, self._state.step, len(self._state.epochs))

    def _optimizer(self, model: Any) -> torch.optim.AdamW:
        parameters = list(trained(model).values())
        return torch.optim.AdamW(parameters, lr=self._recipe.learning_rate, weight_decay=self._recipe.weight_decay)

    def _begin(self, model: Any, optimizer: torch.optim.AdamW) -> None:
        state = self._state
        if state.num_resumed:
            restore(self._checkpoints, model, optimizer)
            self._tell(Resumed(state.step, self._num_steps, len(state.epochs) + 1))
            return
        state.estimate = estimate(self._base, self._prefixes, self._rows, self._validation, self._recipe)
        self._tell(state.estimate)
        with adapter_off(model):
            state.base_validation_loss = mean_loss(self._base, self._prefixes, self._validation)

    def _train_epochs(self, model: Any, optimizer: torch.optim.AdamW) -> None:
        order = random.Random(self._recipe.seed)
        for epoch in range(1, self._recipe.num_epochs + 1):
            batches = list(_batches(order.sample(list(self._rows), len(self._rows)), self._recipe.batch_rows))
            if epoch <= len(self._state.epochs):
                continue
            if self._is_stale():
                return
            for batch in batches[len(self._state.losses) :]:
                self._train_step(batch, epoch, optimizer)
                if time.monotonic() - self._saved_at >= self._recipe.checkpoint_seconds:
                    self._save(model, optimizer)
            self._end_epoch(model, epoch)
            self._save(model, optimizer)

    def _train_step(self, batch: Rows, epoch: int, optimizer: torch.optim.AdamW) -> None:
        """One optimiser step; the loss is the mean over all answer tokens of the batch."""
        started = time.monotonic()
        state, recipe = self._state, self._recipe
        rate = recipe.learning_rate * rate_share(state.step, self._num_steps, recipe.warmup_share)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = self._accumulate(batch)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, recipe.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        state.step += 1
        state.losses.append(loss)
        state.num_tokens += sum(row.num_tokens for row in batch)
        state.training_seconds += time.monotonic() - started
        remaining = (self._num_steps - state.step) * state.training_seconds / state.step
        told = Progress(
            state.step, self._num_steps, epoch, loss, rate, state.num_tokens / state.training_seconds, remaining
        )
        self._curve.add_step(told)
        self._tell(told)

    def _accumulate(self, batch: Rows) -> float:
        num_answer_tokens = sum(row.num_answer_tokens for row in batch)
        total = 0.0
        for pack in packs(batch):
            loss = answer_loss(self._base, self._prefixes, pack, self._recipe.decision_weight) / num_answer_tokens
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        return total

    def _end_epoch(self, model: Any, number: int) -> None:
        """Validate, keep the epoch's adapter, and count the epoch as done: what comes next begins a new one."""
        state = self._state
        validation_loss = mean_loss(self._base, self._prefixes, self._validation)
        earlier = [epoch.validation_loss for epoch in state.epochs if epoch.validation_loss is not None]
        is_best = validation_loss is None or validation_loss < min(earlier, default=math.inf)
        refusals = measure_refusals(self._base, self._prefixes, self._validation)
        self._keep_epoch(model, number)
        self._count_time()
        loss = sum(state.losses) / len(state.losses)
        ended = EpochResult(number, loss, validation_loss, refusals, state.epoch_seconds, is_best)
        state.epochs.append(ended)
        state.losses, state.epoch_seconds = [], 0.0
        self._curve.add_epoch(state.step, ended)
        self._tell(ended)

    def _keep_epoch(self, model: Any, number: int) -> None:
        partial = self._checkpoints / f"epoch-{number}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        save_adapter(model, self._base, partial)
        shutil.rmtree(_epoch_folder(self._checkpoints, number), ignore_errors=True)
        partial.rename(_epoch_folder(self._checkpoints, number))

    def _save(self, model: Any, optimizer: torch.optim.AdamW) -> None:
        self._count_time()
        save_state(self._checkpoints, self._identity, self._state, model, optimizer)
        self._saved_at = time.monotonic()

    def _count_time(self) -> None:
        now = time.monotonic()
        self._state.seconds += now - self._counted_at
        self._state.epoch_seconds += now - self._counted_at
        self._counted_at = now
        self._state.peak_bytes = max(self._state.peak_bytes, peak_bytes())

    @property
    def _best(self) -> EpochResult:
        return [epoch for epoch in self._state.epochs if epoch.is_best][-1]

    def _is_stale(self) -> bool:
        epochs = self._state.epochs
        return bool(epochs) and 0 < self._recipe.patience <= len(epochs) - self._best.epoch

    def _finish(self) -> TrainingResult:
        """The adapter folder appears last and whole: it marks a finished run."""
        self._count_time()
        state = self._state
        assert state.estimate is not None
        result = TrainingResult(
            adapter=self._output / ADAPTER_FOLDER,
            recipe=self._recipe,
            epochs=tuple(state.epochs),
            best_epoch=self._best.epoch,
            base_validation_loss=state.base_validation_loss,
            num_rows=len(self._rows),
            num_tokens=state.num_tokens,
            seconds=state.seconds,
            tokens_per_second=state.num_tokens / state.training_seconds,
            peak_bytes=state.peak_bytes,
            estimate=state.estimate,
            num_resumed=state.num_resumed,
        )
        _write_result(result, self._identity, self._output / RESULT_FILE)
        partial = self._output / f"{ADAPTER_FOLDER}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(_epoch_folder(self._checkpoints, result.best_epoch), partial)
        partial.rename(result.adapter)
        (self._checkpoints / STATE_FILE).unlink()
        return result


def read_result(output: Path, identity: Identity) -> TrainingResult | None:
    """Of a finished run of this identity; None for anything else."""
    try:
        values = json.loads((output / RESULT_FILE).read_text(encoding="utf-8"))
        if not (output / ADAPTER_FOLDER).is_dir() or Identity(**values.pop("identity")).difference(identity):
            return None
        values["recipe"]["target_modules"] = tuple(values["recipe"]["target_modules"])
        made = {
            "adapter": output / ADAPTER_FOLDER,
            "recipe": Recipe(**values["recipe"]),
            "epochs": tuple(epoch_of(epoch) for epoch in values["epochs"]),
            "estimate": Estimate(**values["estimate"]),
        }
        return TrainingResult(**{**values, **made})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def rate_share(step: int, num_steps: int, warmup_share: float) -> float:
    """Share of the peak learning rate at `step` (from 0): a linear rise over the warm-up, then a linear fall to 0."""
    num_warmup = max(1, round(num_steps * warmup_share))
    rising = (step + 1) / num_warmup
    falling = (num_steps - step) / max(1, num_steps - num_warmup + 1)
    return min(1.0, rising, falling)


def _epoch_folder(checkpoints: Path, number: int) -> Path:
    return checkpoints / f"epoch-{number}"


def _batches(rows: Rows, num_rows: int) -> Iterator[Rows]:
    return (rows[start : start + num_rows] for start in range(0, len(rows), num_rows))


def _write_result(result: TrainingResult, identity: Identity, path: Path) -> None:
    values = dataclasses.asdict(result) | {"adapter": result.adapter.name, "identity": dataclasses.asdict(identity)}
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(values, indent=1), encoding="utf-8")
    partial.rename(path)
