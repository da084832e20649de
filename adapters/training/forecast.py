"""What training would cost, before there are rows to train on: a handful of rows timed, scaled up to all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.examples import Example
from adapters.training.adapter import with_adapter
from adapters.training.base import load_base
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


def forecast(base: Path, sample: Sequence[Example], num_rows: int, recipe: Recipe) -> Forecast:
    """sample: rows with sources as serving has them. Nothing is learned. Raises ModelError, BadRequestError."""
    opened = load_base(base, recipe.precision, recipe.threads)
    rows = build_rows(sample, opened.turn_format, opened.encode, max_tokens=recipe.max_tokens)
    model = with_adapter(opened, recipe)
    try:
        found = estimate(opened, PrefixStore(opened, recipe.prefix_budget_bytes), rows, (), recipe)
    finally:
        model.unload()
    tokens = sum(row.num_tokens for row in rows) / len(rows)
    return Forecast(found.seconds * num_rows / len(rows), tokens, found.peak_bytes)
