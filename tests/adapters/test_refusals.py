"""The balance of refusing, on gaps that one can judge by eye, and on a tiny base against its own greedy choice."""

import pytest
import torch

from adapters.examples import Example
from adapters.training.base import TrainingBase
from adapters.training.dataset import build_rows, refusal_of
from adapters.training.prefixes import PrefixStore
from adapters.training.refusals import LARGEST_BIAS, balance, measure_refusals, refusal_gap
from config.prompt import Conversation, Source, Turn
from tests.adapters.tiny import training_base, write_base

REFUSAL = "no"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> TrainingBase:
    return training_base(write_base(tmp_path_factory.mktemp("base") / "base.gguf"))


def example(question: str, answer: str) -> Example:
    return Example(Conversation((Turn("user", question),), (Source(1, "A", "", "abc"),), system="s"), answer)


EXAMPLES = [example("a", "x"), example("b", REFUSAL), example("c", REFUSAL), example("d", "y [1]")]


def test_a_clean_split_is_found_without_going_further_than_needed() -> None:
    found = balance([-1.0, 0.5, 1.0], [2.0, 3.0])
    assert (found.bias, found.refused, found.wrongly_refused, found.auroc) == (1.5, 1.0, 0.0, 1.0)


def test_a_voice_that_refuses_rightly_by_itself_needs_no_bias() -> None:
    assert balance([-2.0, -1.0], [1.0, 4.0]).bias == 0.0


def test_a_voice_that_refuses_too_much_is_drawn_to_answer() -> None:
    found = balance([-6.0, -5.0], [-2.0, 1.0])
    assert (found.bias, found.refused, found.wrongly_refused) == (-3.5, 1.0, 0.0)


def test_gaps_that_say_nothing_are_told_as_chance() -> None:
    assert balance([1.0, 3.0], [1.0, 3.0]).auroc == 0.5


def test_the_bias_has_an_end() -> None:
    assert balance([50.0], [60.0]).bias <= LARGEST_BIAS


def test_the_gap_is_the_largest_lead_over_the_refusal(base: TrainingBase) -> None:
    rows = build_rows(EXAMPLES, base.turn_format, base.encode, max_tokens=250)
    refusal = refusal_of(rows)
    assert refusal is not None
    row = rows[0]
    tokens = [*row.prefix, *row.suffix[: -row.num_answer_tokens], *refusal]
    with torch.no_grad():
        logits = base.model(input_ids=torch.tensor([tokens])).logits[0, -len(refusal) - 1 : -1]
    leads = [
        float(max(at[token] for token in range(len(at)) if token != own) - at[own])
        for at, own in zip(logits, refusal, strict=True)
    ]
    assert refusal_gap(base, PrefixStore(base, 10_000_000), row, refusal) == pytest.approx(max(leads), abs=1e-2)


def test_rows_of_one_kind_cannot_be_balanced(base: TrainingBase) -> None:
    prefixes = PrefixStore(base, 10_000_000)
    for examples in (EXAMPLES[1:3], [EXAMPLES[0], EXAMPLES[3]]):
        rows = build_rows(examples, base.turn_format, base.encode, max_tokens=250)
        assert measure_refusals(base, prefixes, rows) is None
    found = measure_refusals(base, prefixes, build_rows(EXAMPLES, base.turn_format, base.encode, max_tokens=250))
    assert found is not None
    assert (found.num_unanswerable, found.num_answerable) == (2, 2)
