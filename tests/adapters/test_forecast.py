"""What training would cost, told from a few rows on a tiny base."""

from pathlib import Path

import pytest

from adapters.examples import Example
from adapters.training.dataset import build_rows
from adapters.training.forecast import forecast
from adapters.training.recipe import Recipe
from config.errors import BadRequestError
from config.prompt import Conversation, Source, Turn
from tests.adapters.tiny import training_base, write_base

RECIPE = Recipe(rank=4, alpha=8.0, num_epochs=2, batch_rows=2)


def example(question: str) -> Example:
    return Example(Conversation((Turn("user", question),), (Source(1, "A", "", "abc"),), system="s"), "fine [1].")


def test_a_few_rows_tell_the_cost_of_many(tmp_path: Path) -> None:
    base = training_base(write_base(tmp_path / "base.gguf"))
    rows = [example("a"), example("abc")]
    found = forecast(base, rows, 50, RECIPE)
    built = build_rows(rows, base.turn_format, base.encode, max_tokens=250)
    assert found.tokens_per_row == sum(row.num_tokens for row in built) / 2
    assert found.seconds > 0
    assert found.peak_bytes > 0
    with pytest.raises(BadRequestError):
        forecast(base, [example("a" * 300)], 50, Recipe(max_tokens=100))
