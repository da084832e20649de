"""What training would cost, before there are rows to train on: a handful of rows timed, scaled up to all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.examples import Example
from adapters.training.adapter import with_adapter
from adapters.training.base import TrainingBase
from adapters.training.dataset import build_rows
from adapters.training.estimate import estimate
from adapters.training.prefixes import PrefixStore
from adapters.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Forecast:
    """seconds: of the whole run here. tokens_per_row: prompt, sources and answer, as a hosted API counts them.

    peak_bytes: of a run over the sample; kept prefixes of more rows come on top, up to the recipe's budget.
    """

    seconds: float
    tokens_per_row: float
    peak_bytes: int


def forecast(base: TrainingBase, sample: Sequence[Example], num_rows: int, recipe: Recipe) -> Forecast:
    """sample: rows with sources as serving has them, at least one. Nothing is learned, and the base stays as it is.

    Raises BadRequestError for rows that are longer than the recipe allows.
    """
    rows = build_rows(sample, base.turn_format, base.encode, max_tokens=recipe.max_tokens, lora=recipe.lora)
    model = with_adapter(base, recipe)
    try:
        found = estimate(base, PrefixStore(base, recipe.prefix_budget_bytes), rows, (), recipe)
    finally:
        model.unload()
    tokens = sum(row.num_tokens for row in rows) / len(rows)
    return Forecast(found.seconds * num_rows / len(rows), tokens, found.peak_bytes)
