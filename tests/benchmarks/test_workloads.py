"""What is asked: the same for one seed, fair to all systems, and new sources that are really new."""

from collections import Counter
from dataclasses import dataclass

import pytest

from benchmarks.bench.load import Call, Read, read_openai
from benchmarks.bench.systems import HOUSEVOICE, LLAMA, LLAMA_PLAIN, Ask
from benchmarks.bench.workloads import (
    BESIDE,
    BUSY,
    COLD,
    MIXED,
    NO_BRAND,
    OTHER_BRAND,
    SAME_BRAND,
    SWITCH,
    THROUGHPUT,
    WARM,
    Sizes,
    Step,
    Systems,
    Workloads,
)
from config.numbering import NUM_FEW

SIZES = Sizes(chunks=(2, 9), cold_chunks=(3, 9), warm_ups=4, pool=12)
PATHS = [f"{number}.txt" for number in range(12 + 2 * SIZES.num_cold)]


@dataclass(frozen=True)
class Named:
    name: str
    read: Read = read_openai

    def call(self, ask: Ask) -> Call:
        raise AssertionError("nothing is sent here")


class Bare:
    """Prompts of one token."""

    def ask(
        self, question: str, documents: tuple[str, ...], brand: int | None, max_tokens: int, *, runs_on: bool = False
    ) -> Ask:
        return Ask(question, (1,), documents, brand, max_tokens, runs_on)


def workloads(seed: int = 1) -> Workloads:
    systems = Systems(Named(HOUSEVOICE), Named(LLAMA), Named(LLAMA_PLAIN), Named("example"))
    return Workloads(Bare(), systems, SIZES, PATHS, seed)


def two_rounds(seed: int = 1) -> list[Step]:
    made = workloads(seed)
    return [*made.warm_ups(), *made.steps(0), *made.steps(1)]


def of(steps: list[Step], workload: str) -> list[Step]:
    return [step for step in steps if step.workload == workload]


def test_one_seed_asks_the_same_and_another_something_else() -> None:
    assert two_rounds() == two_rounds()
    assert two_rounds() != two_rounds(seed=2)


def test_no_question_is_asked_twice() -> None:
    questions = [ask.question for step in two_rounds() for ask in step.asks]
    assert len(questions) == len(set(questions))


@pytest.mark.parametrize("is_few", [True, False])
def test_warm_ups_bring_in_every_chunk_of_the_pool_under_both_kinds_of_numbers(is_few: bool) -> None:
    asks = [ask for step in workloads().warm_ups() for ask in step.asks]
    seen = {path for ask in asks if (len(ask.documents) <= NUM_FEW) == is_few for path in ask.documents}
    assert seen == set(PATHS[: SIZES.pool])


def test_the_example_server_reads_each_size_once() -> None:
    asked = [step.size for step in two_rounds() if "example" in [system.name for system in step.systems]]
    assert sorted(asked) == sorted(SIZES.chunks)


def test_new_sources_are_in_no_earlier_prompt() -> None:
    cold = [path for step in of(two_rounds(), COLD) for ask in step.asks for path in ask.documents]
    assert len(cold) == len(set(cold)) == 2 * SIZES.num_cold
    assert not set(cold) & set(PATHS[: SIZES.pool])


def test_every_brand_and_size_comes_up_for_both_systems() -> None:
    steps = of(two_rounds(), WARM)
    assert {step.asks[0].brand for step in steps} == set(range(SIZES.num_brands))
    assert Counter(step.size for step in steps) == dict.fromkeys(SIZES.chunks, 2 * SIZES.warm_requests)
    assert all(len(step.asks[0].documents) == step.size for step in steps)
    assert all({HOUSEVOICE, LLAMA} <= {system.name for system in step.systems} for step in steps)


def test_a_switch_changes_the_brand_and_nothing_else() -> None:
    same, other = of(two_rounds(), SWITCH)[:2]
    assert (same.case, other.case) == (SAME_BRAND, OTHER_BRAND)
    assert same.asks[0].documents == other.asks[0].documents
    assert same.asks[0].brand != other.asks[0].brand


def test_sixteen_requests_are_spread_over_the_brands_and_run_on() -> None:
    mixed, _, plain = of(two_rounds(), THROUGHPUT)[:3]
    assert (mixed.case, plain.case) == (MIXED, NO_BRAND)
    assert Counter(ask.brand for ask in mixed.asks) == {0: 4, 1: 4, 2: 4, 3: 4}
    assert {ask.brand for ask in plain.asks} == {None}
    assert LLAMA_PLAIN in {system.name for system in plain.systems}
    assert all(ask.runs_on and ask.max_tokens == SIZES.answer_tokens for ask in mixed.asks)


def test_one_of_two_streams_has_a_busy_neighbour() -> None:
    assert [step.is_beside_busy for step in of(two_rounds(), BUSY)[:2]] == [False, True]
    assert of(two_rounds(), BUSY)[1].case == BESIDE
