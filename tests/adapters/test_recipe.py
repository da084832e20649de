import dataclasses
from pathlib import Path

import pytest

from adapters.training.recipe import COMMENTS, Recipe, read_recipe, write_recipe
from config.errors import ConfigError


def test_a_written_recipe_reads_back_and_explains_each_line(tmp_path: Path) -> None:
    recipe = Recipe(rank=4, learning_rate=3e-4, target_modules=("q_proj",), shuffle_share=0.25, start_from="runs/x")
    write_recipe(recipe, tmp_path / "recipe.toml")
    assert read_recipe(tmp_path / "recipe.toml") == recipe
    text = (tmp_path / "recipe.toml").read_text(encoding="utf-8")
    for field in dataclasses.fields(Recipe):
        assert f"  # {COMMENTS[field.name]}" in text


def test_missing_keys_keep_their_defaults(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("rank = 32\nalpha = 64\n", encoding="utf-8")
    assert read_recipe(tmp_path / "recipe.toml") == Recipe(rank=32, alpha=64.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_epoch = 3", "Unknown key num_epoch .* Did you mean num_epochs?"),
        ('rank = "8"', "rank in .* = '8' is not valid"),
        ("rank = true", "rank in .* = True is not valid"),
        ("rank = 0", "rank = 0 is not above zero"),
        ("dropout = 1.0", "dropout = 1.0 is not between 0 and 1"),
        ("target_modules = []", "target_modules is empty"),
        ('precision = "int4"', "precision = 'int4' is none of"),
        ("rank =", "cannot be read"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_recipe(tmp_path / "recipe.toml")


def test_a_plain_adapter_reads_no_blocks() -> None:
    with pytest.raises(ConfigError, match="on from the first token"):
        Recipe(lora="plain", fact_layout="blocks")
    with pytest.raises(ConfigError, match="none of exact, blocks"):
        Recipe(fact_layout="sideways")  # type: ignore[arg-type]
