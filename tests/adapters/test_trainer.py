"""Training on a tiny base with random weights: the loop's promises, not its results."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from adapters.examples import Example
from adapters.training.adapter import with_adapter
from adapters.training.base import TrainingBase
from adapters.training.dataset import TrainingRow, build_rows
from adapters.training.loss import answer_loss, mean_loss, packs
from adapters.training.packed import attend_row
from adapters.training.prefixes import Layer, PrefixStore
from adapters.training.progress import EpochResult, Estimate, Progress, TrainingEvent
from adapters.training.recipe import Recipe, read_recipe
from adapters.training.run import rate_share
from adapters.training.trainer import Trainer
from config.errors import BadRequestError
from config.prompt import Conversation, Source, Turn
from tests.adapters.tiny import training_base, write_base

BUDGET = 100_000_000
RECIPE = Recipe(rank=4, alpha=8.0, num_epochs=3, batch_rows=2, learning_rate=0.01)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> TrainingBase:
    return training_base(write_base(tmp_path_factory.mktemp("base") / "base.gguf"))


def example(question: str, answer: str) -> Example:
    return Example(Conversation((Turn("user", question),), (Source(1, "A", "", "abc"),), system="s"), answer)


EXAMPLES = [example(letter, f"{letter} is fine [1].") for letter in "abcdef"]
HELD_OUT = [example(letter, f"{letter} is fine [1].") for letter in "gh"]


def rows_of(base: TrainingBase, examples: Sequence[Example] = EXAMPLES) -> tuple[TrainingRow, ...]:
    return build_rows(examples, base.turn_format, base.encode, max_tokens=250)


def whole_prompt_loss(base: TrainingBase, row: TrainingRow) -> float:
    """By the model as its makers wrote it, without kept prefixes or packs."""
    tokens = torch.tensor([[*row.prefix, *row.suffix]])
    with torch.no_grad():
        logits = base.model(input_ids=tokens).logits[0, -row.num_answer_tokens - 1 : -1]
    return float(torch.nn.functional.cross_entropy(logits, tokens[0, -row.num_answer_tokens :], reduction="sum"))


def test_a_packs_loss_is_the_sum_of_its_rows_whole_prompts(base: TrainingBase) -> None:
    rows = rows_of(base, [example("a", "x"), example("how long is it", "two years"), example("b", "longer answer [1]")])
    expected = sum(whole_prompt_loss(base, row) for row in rows)
    assert answer_loss(base, PrefixStore(base, BUDGET), rows).item() == pytest.approx(expected, rel=1e-3)


def test_the_decision_weighs_more_and_nothing_else_does(base: TrainingBase) -> None:
    row, *_ = rows_of(base, [example("a", "yes [1]"), example("b", "yet no"), example("c", "yet no")])
    assert row.decisions == (2,)
    up_to = [
        replace(row, suffix=row.suffix[:end], num_answer_tokens=end - start, decisions=())
        for start in [len(row.suffix) - row.num_answer_tokens]
        for end in (start + 2, start + 3)
    ]
    of_decision = whole_prompt_loss(base, up_to[1]) - whole_prompt_loss(base, up_to[0])
    weighted = answer_loss(base, PrefixStore(base, BUDGET), [row], 4.0).item()
    assert weighted == pytest.approx(whole_prompt_loss(base, row) + 3 * of_decision, rel=1e-3)


def test_a_plain_row_has_all_of_its_prompt_under_the_adapter(base: TrainingBase) -> None:
    (row,) = build_rows(EXAMPLES[:1], base.turn_format, base.encode, max_tokens=250, lora="plain")
    assert row.prefix == ()
    assert row.suffix == (*rows_of(base)[0].prefix, *rows_of(base)[0].suffix)
    model = with_adapter(base, RECIPE).eval()
    torch.manual_seed(0)
    try:
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.copy_(torch.randn_like(parameter) * 0.3)
        expected = whole_prompt_loss(base, row)
        assert answer_loss(base, PrefixStore(base, BUDGET), [row]).item() == pytest.approx(expected, rel=1e-3)
        activated = answer_loss(base, PrefixStore(base, BUDGET), rows_of(base)[:1]).item()
        assert activated != pytest.approx(expected, rel=1e-2)
    finally:
        model.unload()


def test_a_plain_adapter_learns_too(base: TrainingBase, tmp_path: Path) -> None:
    result = Trainer(base, BUDGET).train(EXAMPLES, HELD_OUT, replace(RECIPE, lora="plain"), tmp_path)
    assert (result.epochs[-1].validation_loss or 9.0) < (result.base_validation_loss or 0.0) - 0.5
    assert read_recipe(tmp_path / "recipe.toml").lora == "plain"


def test_an_adapter_learns_from_blocks_and_says_so(base: TrainingBase, tmp_path: Path) -> None:
    sources = (Source(1, "A", "", "abc"), Source(2, "B", "", "abcdef"))
    given = [replace(row, conversation=replace(row.conversation, sources=sources)) for row in (*EXAMPLES, *HELD_OUT)]
    recipe = replace(RECIPE, fact_layout="blocks")
    result = Trainer(base, BUDGET).train(given[:6], given[6:], recipe, tmp_path)
    assert (result.epochs[-1].validation_loss or 9.0) < (result.base_validation_loss or 0.0) - 0.5
    assert read_recipe(tmp_path / "recipe.toml").fact_layout == "blocks"
    assert result.recipe.fact_layout == "blocks"


def test_a_base_with_a_window_is_not_trained_on_blocks(tmp_path: Path) -> None:
    windowed = training_base(write_base(tmp_path / "base.gguf", "gemma3"))
    with pytest.raises(BadRequestError, match="sliding window"):
        Trainer(windowed, BUDGET).train(EXAMPLES, HELD_OUT, replace(RECIPE, fact_layout="blocks"), tmp_path)


def test_the_base_loss_is_the_base_s_even_where_a_run_goes_on_from_another(base: TrainingBase, tmp_path: Path) -> None:
    """Regression fence: it was measured with the adapter to start from already on."""
    first = Trainer(base, BUDGET).train(EXAMPLES, HELD_OUT, RECIPE, tmp_path / "first")
    further = replace(RECIPE, num_epochs=1, start_from=str(first.adapter))
    second = Trainer(base, BUDGET).train(EXAMPLES, HELD_OUT, further, tmp_path / "second")
    assert second.base_validation_loss == first.base_validation_loss


def test_mean_loss_weighs_every_answer_token_alike(base: TrainingBase) -> None:
    rows = rows_of(base)
    expected = sum(whole_prompt_loss(base, row) for row in rows) / sum(row.num_answer_tokens for row in rows)
    assert mean_loss(base, PrefixStore(base, BUDGET), rows) == pytest.approx(expected, rel=1e-3)
    assert mean_loss(base, PrefixStore(base, BUDGET), []) is None


def test_prefixes_are_of_the_base_even_while_an_adapter_is_in(base: TrainingBase) -> None:
    tokens = rows_of(base)[0].prefix
    plain = PrefixStore(base, BUDGET).layers(tokens)
    model = with_adapter(base, RECIPE)
    try:
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.fill_(0.5)
        adapted = PrefixStore(base, BUDGET).layers(tokens)
    finally:
        model.unload()
    assert all(
        torch.equal(a.keys, b.keys) and torch.equal(a.values, b.values) for a, b in zip(plain, adapted, strict=True)
    )


def test_prefixes_beyond_the_budget_are_computed_again_alike(base: TrainingBase) -> None:
    tokens, roomy = rows_of(base)[0].prefix, PrefixStore(base, BUDGET)
    cramped = PrefixStore(base, sum(layer.num_bytes for layer in roomy.layers(tokens)) - 1)
    assert roomy.layers(tokens) is roomy.layers(tokens)
    assert torch.equal(cramped.layers(tokens)[0].keys, roomy.layers(tokens)[0].keys)
    assert roomy.is_kept(tokens)
    assert not cramped.is_kept(tokens)
    assert roomy.growth_bytes(len(tokens)) == sum(layer.num_bytes for layer in roomy.layers(tokens))
    assert roomy.growth_bytes(10**9) < BUDGET


@pytest.mark.parametrize(("window", "softcap"), [(None, None), (3, None), (None, 2.0)])
def test_attention_of_a_suffix_equals_that_of_the_whole(window: int | None, softcap: float | None) -> None:
    torch.manual_seed(0)
    num_prefix, num_suffix, heads, kv_heads, size = 5, 4, 4, 2, 8
    keys, values = torch.randn(2, kv_heads, num_prefix + num_suffix, size).half().float()
    query = torch.randn(heads, num_suffix, size)
    prefix = Layer(keys[None, :, :num_prefix].half(), values[None, :, :num_prefix].half())
    mixed = attend_row(
        query, keys[:, num_prefix:], values[:, num_prefix:], prefix, scaling=0.3, window=window, softcap=softcap
    )
    for head in range(heads):
        for place in range(num_suffix):
            last = num_prefix + place
            first = 0 if window is None else last - window + 1
            scores = keys[head // 2, first : last + 1] @ query[head, place] * 0.3
            scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
            expected = scores.softmax(0) @ values[head // 2, first : last + 1]
            torch.testing.assert_close(mixed[head, place], expected)


def test_packs_keep_the_order_and_stay_within_the_limit() -> None:
    rows = [TrainingRow((1,), (2,) * length, 1) for length in (300, 200, 100, 600, 10)]  # limit 512
    assert [[len(row.suffix) for row in pack] for pack in packs(rows)] == [[300, 200], [100], [600], [10]]


def test_training_lowers_the_loss_and_leaves_the_base_as_it_was(base: TrainingBase, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    events: list[TrainingEvent] = []
    result = Trainer(base, BUDGET).train(EXAMPLES, HELD_OUT, RECIPE, tmp_path, events.append)
    assert result.base_validation_loss is not None
    assert result.epochs[-1].validation_loss is not None
    assert result.epochs[-1].validation_loss < result.base_validation_loss - 0.5
    after = base.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert isinstance(events[0], Estimate)
    assert [event.step for event in events if isinstance(event, Progress)] == list(range(1, 10))
    assert [event.epoch for event in events if isinstance(event, EpochResult)] == [1, 2, 3]
    assert [event for event in events if isinstance(event, Progress)][-1].remaining_seconds == 0


def test_a_run_leaves_adapter_recipe_checkpoints_and_losses(base: TrainingBase, tmp_path: Path) -> None:
    result = Trainer(base, BUDGET).train(EXAMPLES, HELD_OUT, RECIPE, tmp_path)
    assert result.adapter == tmp_path / "adapter"
    config = json.loads((result.adapter / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["base_model_name_or_path"]) == (4, "base.gguf")
    assert read_recipe(tmp_path / "recipe.toml") == replace(RECIPE, precision="float32")
    told = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert told["best_epoch"] == result.best_epoch
    assert [epoch["validation_loss"] for epoch in told["epochs"]] == [e.validation_loss for e in result.epochs]
    best = tmp_path / f"checkpoints/epoch-{result.best_epoch}/adapter_model.safetensors"
    assert best.read_bytes() == (result.adapter / "adapter_model.safetensors").read_bytes()


def test_the_same_seed_gives_the_same_weights(base: TrainingBase, tmp_path: Path) -> None:
    trainer = Trainer(base, BUDGET)
    weights = [
        load_file(
            trainer.train(EXAMPLES, (), replace(RECIPE, seed=seed), tmp_path / name).adapter
            / "adapter_model.safetensors"
        )
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    ]
    name = next(iter(weights[0]))
    np.testing.assert_array_equal(weights[0][name], weights[1][name])
    assert not np.array_equal(weights[0][name], weights[2][name])


def test_training_stops_early_and_keeps_the_best_epoch(base: TrainingBase, tmp_path: Path) -> None:
    """The held-out answers contradict the learned ones, so learning makes them worse from some epoch on."""
    contrary = [example(letter, "zzzzzzzz") for letter in "ab"]
    recipe = replace(RECIPE, num_epochs=12, patience=2, learning_rate=0.03)
    result = Trainer(base, BUDGET).train(EXAMPLES, contrary, recipe, tmp_path)
    losses = [epoch.validation_loss or 0.0 for epoch in result.epochs]
    assert len(losses) < 12
    assert result.best_epoch == 1 + losses.index(min(losses)) == len(losses) - 2


def test_a_run_can_go_on_from_another_one(base: TrainingBase, tmp_path: Path) -> None:
    first = Trainer(base, BUDGET).train(EXAMPLES, EXAMPLES, RECIPE, tmp_path / "first")
    further = replace(RECIPE, num_epochs=1, learning_rate=1e-9, start_from=str(first.adapter))
    second = Trainer(base, BUDGET).train(EXAMPLES, EXAMPLES, further, tmp_path / "second")
    assert second.epochs[0].validation_loss == pytest.approx(
        first.epochs[first.best_epoch - 1].validation_loss, rel=1e-3
    )
    other = replace(RECIPE, rank=RECIPE.rank + 1, start_from=str(first.adapter))
    with pytest.raises(BadRequestError, match="another rank"):
        Trainer(base, BUDGET).train(EXAMPLES, (), other, tmp_path / "third")
    with pytest.raises(BadRequestError, match="does not exist"):
        Trainer(base, BUDGET).train(EXAMPLES, (), replace(RECIPE, start_from="nowhere"), tmp_path / "third")


def test_what_cannot_be_trained_is_refused(base: TrainingBase, tmp_path: Path) -> None:
    trainer = Trainer(base, BUDGET)
    with pytest.raises(BadRequestError, match="no examples"):
        trainer.train([], [], RECIPE, tmp_path)
    with pytest.raises(BadRequestError, match="longer than 10 tokens"):
        trainer.train(EXAMPLES, [], replace(RECIPE, max_tokens=10), tmp_path)
    with pytest.raises(BadRequestError, match="no layers named w_proj"):
        trainer.train(EXAMPLES, [], replace(RECIPE, target_modules=("q_proj", "w_proj")), tmp_path)
    assert not (tmp_path / "adapter").exists()


def test_the_rate_rises_then_falls_to_nothing() -> None:
    shares = [rate_share(step, 10, 0.2) for step in range(10)]
    assert shares == pytest.approx([0.5, 1.0, 8 / 9, 7 / 9, 6 / 9, 5 / 9, 4 / 9, 3 / 9, 2 / 9, 1 / 9])
    assert rate_share(0, 1, 0.0) == 1.0
