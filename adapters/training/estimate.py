"""What a run will cost in time and memory, told before its first step from one timed row."""

import math
import resource
import sys
import time
from collections.abc import Callable, Sequence

import psutil
import torch

from adapters.training.base import TrainingBase
from adapters.training.dataset import TrainingRow
from adapters.training.loss import answer_loss, packs
from adapters.training.prefixes import PrefixStore
from adapters.training.progress import Estimate
from adapters.training.recipe import Recipe

FORWARD_SHARE = 0.5
"""Of a training row's time; validation rows have no backward pass, and are run once more before the first epoch."""


def estimate(
    base: TrainingBase,
    prefixes: PrefixStore,
    rows: Sequence[TrainingRow],
    validation: Sequence[TrainingRow],
    recipe: Recipe,
) -> Estimate:
    """Prefill the longest row, learn from the first pack, drop its gradient, and scale up by tokens."""
    longest = max(rows, key=lambda row: len(row.prefix))
    prefill_seconds = _seconds(lambda: prefixes.layers(longest.prefix, longest.layout)) / max(1, len(longest.prefix))
    pack = next(packs(rows[: recipe.batch_rows]))
    learn_seconds = _warm_seconds(lambda: _learn(base, prefixes, pack)) / sum(len(row.suffix) for row in pack)
    base.model.zero_grad(set_to_none=True)
    num_prefix_tokens = prefixes.num_missing([(row.prefix, row.layout) for row in (*rows, *validation)])
    num_suffix_tokens = sum(len(row.suffix) for row in rows)
    num_checked = FORWARD_SHARE * sum(len(row.suffix) for row in validation)
    num_learned = recipe.num_epochs * num_suffix_tokens + (recipe.num_epochs + 1) * num_checked
    return Estimate(
        num_rows=len(rows),
        num_steps=recipe.num_epochs * math.ceil(len(rows) / recipe.batch_rows),
        num_prefix_tokens=num_prefix_tokens,
        num_suffix_tokens=num_suffix_tokens,
        seconds=num_prefix_tokens * prefill_seconds + num_learned * learn_seconds,
        peak_bytes=max(peak_bytes(), _present_bytes() + prefixes.growth_bytes(num_prefix_tokens)),
        precision=recipe.precision,
    )


def peak_bytes() -> int:
    """The most memory this process has held so far: the GPU's where it trains on one."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _present_bytes() -> int:
    return int(torch.cuda.memory_allocated()) if torch.cuda.is_available() else psutil.Process().memory_info().rss


def _learn(base: TrainingBase, prefixes: PrefixStore, pack: Sequence[TrainingRow]) -> None:
    answer_loss(base, prefixes, pack).backward()  # type: ignore[no-untyped-call]


def _seconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def _warm_seconds(act: Callable[[], object]) -> float:
    return min(_seconds(act), _seconds(act))
