"""Fact blocks on the fake backend: any order, any brand, any level, always the answer computed in one's head."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from config.fact_layout import Layout
from config.settings import EngineSettings
from server.engine.backend import BackendShape
from server.engine.fake import DEFAULT_SHAPE, FakeBackend, expected_answer
from server.engine.messages import NO_DOCUMENT, AdapterRef, FactStatus, FailureKind, GenerateRequest, Scope
from server.engine.storage import EngineStorage
from tests.server.engine.bench import Bench

MakeBench = Callable[..., Bench]
BRAND_A, BRAND_B = AdapterRef("a@1", Path("a.gguf"), "a1"), AdapterRef("b@1", Path("b.gguf"), "b2")
LEAVE, TRAVEL, PAY = "26 days of leave. ", "41 pounds. ", "Paid on the 25th of the month. "
PREFIX, QUESTION = "sources: ", " how many?"


@pytest.fixture
def settings(settings: EngineSettings) -> EngineSettings:
    return settings.model_copy(update={"fact_layout": "blocks"})


def ask(
    request_id: str,
    *blocks: str,
    question: str = QUESTION,
    adapter: AdapterRef | None = None,
    scope: str = "",
    max_tokens: int = 6,
    documents: tuple[str, ...] = (),
) -> GenerateRequest:
    bounds = tuple(accumulate((len(block) for block in blocks), initial=len(PREFIX)))
    return GenerateRequest(
        request_id,
        tuple((PREFIX + "".join(blocks) + question).encode()),
        max_tokens,
        voice_boundary=bounds[-1],
        adapter=adapter,
        scopes=(Scope(len(PREFIX), scope),) if scope else (),
        fact_bounds=bounds if blocks else (),
        fact_documents=documents,
    )


def expected(request: GenerateRequest) -> str:
    voice = int(request.adapter.sha256, 16) if request.adapter else 0
    boundary = request.voice_boundary
    return expected_answer(request.tokens, voice, boundary, request.max_tokens, request.fact_bounds).decode()


def run(bench: Bench, *requests: GenerateRequest) -> None:
    """All of them together; each must give its own answer."""
    for request in requests:
        bench.core.submit(request)
    bench.run()
    assert [bench.text(request.request_id) for request in requests] == [expected(request) for request in requests]


def facts(bench: Bench) -> FactStatus:
    return bench.core.status().facts


def num_computed(bench: Bench, begin: int = 0) -> int:
    return sum(len(span.tokens) for spans in bench.backend.batches[begin:] for span in spans)


def test_positions_of_blocks_lie_side_by_side() -> None:
    layout = Layout((3, 5, 9))
    assert [layout.num_positions(n) for n in (0, 2, 3, 5, 9, 10)] == [0, 2, 3, 5, 7, 8]
    assert [layout.usable(n) for n in (2, 3, 4, 5, 8, 9, 12)] == [2, 3, 3, 3, 3, 9, 12]
    assert [Layout().num_positions(n) for n in (0, 5)] == [0, 5]
    assert layout.alike(Layout((3, 5, 9))) > 9
    assert layout.alike(Layout((3, 6, 9))) == layout.alike(Layout((3, 9))) == layout.alike(Layout()) == 3


def test_blocks_are_computed_apart_and_give_another_answer_than_one_piece(make_bench: MakeBench) -> None:
    bench, request = make_bench(), ask("1", LEAVE, PAY)
    run(bench, request)
    assert expected(request) != expected(replace(request, fact_bounds=()))
    assert bench.finished("1").num_cached_tokens == 0
    assert facts(bench).layout == "blocks"
    assert facts(bench).num_misses == facts(bench).num_memory_blocks == 2


def test_a_known_block_is_never_computed_again_in_whatever_order(make_bench: MakeBench) -> None:
    bench = make_bench()
    run(bench, ask("1", LEAVE, TRAVEL, PAY))
    begin = len(bench.backend.batches)
    run(bench, ask("2", PAY, LEAVE, question="And when?"))
    assert num_computed(bench, begin) == len("And when?") + len(bench.text("2")) - 1
    assert bench.finished("2").num_cached_tokens == len(PREFIX + PAY + LEAVE)
    assert facts(bench).num_context_hits == 2
    assert bench.core.status().num_cached_tokens == facts(bench).num_saved_tokens + len(PREFIX)


def test_the_order_of_blocks_does_not_matter(make_bench: MakeBench) -> None:
    one, other = ask("1", LEAVE, TRAVEL, PAY), ask("2", PAY, LEAVE, TRAVEL)
    assert expected(one) == expected(other)
    run(make_bench(), one, other)


def test_every_brand_reuses_the_same_blocks(make_bench: MakeBench) -> None:
    bench = make_bench()
    run(bench, ask("a", LEAVE, PAY, adapter=BRAND_A))
    run(bench, ask("b", PAY, LEAVE, adapter=BRAND_B), ask("base", LEAVE))
    assert facts(bench).num_misses == 2
    assert bench.text("a") != bench.text("b")


def test_a_follow_up_shares_the_whole_beginning_with_its_blocks(make_bench: MakeBench) -> None:
    bench = make_bench()
    run(bench, ask("1", LEAVE, PAY))
    follow_up = ask("2", LEAVE, PAY, question=QUESTION + bench.text("1") + " And then?")
    run(bench, follow_up)
    assert bench.finished("2").num_cached_tokens >= len(PREFIX + LEAVE + PAY + QUESTION)
    assert facts(bench).num_context_hits == 0


def test_blocks_that_left_the_context_come_back_from_memory(make_bench: MakeBench) -> None:
    bench = make_bench(max_running=2)
    run(bench, ask("1", LEAVE, PAY))
    for number in range(8):
        run(bench, ask(f"other {number}", question=f"{number} " + "x" * 80))
    run(bench, ask("2", PAY, LEAVE))
    assert facts(bench).num_memory_hits == 2
    assert facts(bench).num_restored_tokens == len(PAY + LEAVE)
    assert bench.finished("2").num_cached_tokens >= len(PAY + LEAVE)


@pytest.mark.parametrize(
    ("num_streams", "memory", "levels"), [(1, 10_000_000, (2, 0)), (4, 10_000_000, (0, 2)), (4, 0, (2, 0))]
)
def test_many_streams_put_idle_blocks_out_of_the_context_where_memory_has_them(
    make_bench: MakeBench, num_streams: int, memory: int, levels: tuple[int, int]
) -> None:
    bench = make_bench(idle_tokens=2 * len(LEAVE + PAY), fact_memory_bytes=memory)
    run(bench, ask("1", LEAVE, PAY, question="?"))
    run(bench, *(ask(f"stream {number}", question=f"{number}") for number in range(num_streams)))
    run(bench, ask("2", PAY, LEAVE))
    assert (facts(bench).num_context_hits, facts(bench).num_memory_hits) == levels


def test_without_a_budget_blocks_are_reused_from_the_context_alone(make_bench: MakeBench) -> None:
    bench = make_bench(fact_memory_bytes=0)
    run(bench, ask("1", LEAVE))
    run(bench, ask("2", LEAVE, PAY))
    assert (facts(bench).num_context_hits, facts(bench).num_memory_blocks) == (1, 0)


def test_the_memory_budget_is_kept(make_bench: MakeBench) -> None:
    size = len(FakeBackend().save(0)) + 40 * len(LEAVE)
    bench = make_bench(fact_memory_bytes=size)
    for number in range(12):
        run(bench, ask(str(number), f"{number} {LEAVE}"))
        assert 0 < facts(bench).num_memory_bytes <= size


def test_blocks_survive_a_restart_on_disk(settings: EngineSettings, tmp_path: Path) -> None:
    storage = EngineStorage(tmp_path / "facts", "ba5e")
    first = Bench(settings, DEFAULT_SHAPE, storage)
    run(first, ask("1", LEAVE, PAY))
    assert facts(first).num_disk_blocks == 2
    second = Bench(settings, DEFAULT_SHAPE, storage)
    run(second, ask("2", PAY, LEAVE, adapter=BRAND_A))
    assert (facts(second).num_disk_hits, facts(second).num_misses) == (2, 0)
    other = Bench(settings, DEFAULT_SHAPE, replace(storage, base_sha256="07e4"))
    run(other, ask("3", PAY))
    assert (facts(other).num_disk_hits, facts(other).num_misses) == (0, 1)


def test_a_saved_block_that_cannot_be_restored_is_computed_again(make_bench: MakeBench) -> None:
    bench = make_bench(max_running=2)
    run(bench, ask("1", LEAVE))
    for number in range(8):
        run(bench, ask(f"other {number}", question=f"{number} " + "x" * 80))
    bench.backend.is_damaging = True
    run(bench, ask("2", LEAVE, PAY))
    bench.backend.is_damaging = False
    run(bench, ask("3", TRAVEL, LEAVE))
    assert (facts(bench).num_damaged, facts(bench).num_misses) == (1, 4)


def test_another_readers_block_is_no_hit(make_bench: MakeBench) -> None:
    """S6: neither in the context nor in memory, and nobody waits for a stranger's block."""
    bench = make_bench()
    run(bench, ask("hr", PAY, scope="groups:hr"))
    run(bench, ask("board", PAY, scope="groups:board"), ask("open", PAY))
    assert bench.finished("board").num_cached_tokens == bench.finished("open").num_cached_tokens == len(PREFIX)
    assert facts(bench).num_misses == 3
    run(bench, ask("hr 2", PAY, LEAVE, scope="groups:hr"))
    assert bench.finished("hr 2").num_cached_tokens == len(PREFIX + PAY)


@pytest.mark.parametrize(("documents", "num_misses"), [({"pay"}, 1), ({"other"}, 0), (None, 2)])
@pytest.mark.parametrize("is_restarted", [False, True])
def test_what_is_dropped_is_computed_again_and_nothing_else(
    settings: EngineSettings, tmp_path: Path, documents: set[str] | None, num_misses: int, is_restarted: bool
) -> None:
    storage = EngineStorage(tmp_path / "facts", "ba5e")
    bench = Bench(settings, DEFAULT_SHAPE, storage)
    run(bench, ask("1", LEAVE, documents=("leave",)), ask("2", PAY, documents=("pay",), scope="groups:hr"))
    bench = Bench(settings, DEFAULT_SHAPE, storage) if is_restarted else bench
    before = facts(bench).num_misses
    bench.core.drop_prefixes(None if documents is None else frozenset(documents))
    bench.core.check_integrity()
    assert facts(bench).num_disk_blocks == 2 - num_misses
    again = ask("3", LEAVE, question="And?"), ask("4", PAY, question="And?", scope="groups:hr")
    run(bench, *again)
    assert facts(bench).num_misses - before == num_misses


def test_a_block_of_unknown_origin_goes_with_any_document(make_bench: MakeBench) -> None:
    bench = make_bench()
    run(bench, ask("1", LEAVE), ask("2", PAY, documents=("pay",)))
    bench.core.drop_prefixes(frozenset({"travel"}))
    assert facts(bench).num_memory_blocks == 1


def test_a_brands_words_outlive_all_documents_but_not_everything(make_bench: MakeBench) -> None:
    bench = make_bench()
    run(bench, ask("1", LEAVE, PAY, documents=("leave", NO_DOCUMENT)))
    bench.core.drop_prefixes(frozenset({"leave"}))
    run(bench, ask("2", LEAVE, PAY, question="And?", documents=("leave", NO_DOCUMENT)))
    assert facts(bench).num_misses == 3
    bench.core.drop_prefixes(None)
    run(bench, ask("3", PAY, question="And now?", documents=(NO_DOCUMENT,)))
    assert facts(bench).num_misses == 4


def test_text_of_two_documents_stays_for_the_one_that_is_left(make_bench: MakeBench) -> None:
    bench = make_bench()
    run(bench, ask("1", LEAVE, documents=("old",)), ask("2", LEAVE, PAY, documents=("new", "pay")))
    bench.core.drop_prefixes(frozenset({"new"}))
    run(bench, ask("3", LEAVE, question="And?", documents=("old",)))
    assert facts(bench).num_misses == 2


def test_documents_must_match_the_sources(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.core.submit(ask("1", LEAVE, PAY, documents=("leave",)))
    assert bench.failed("1").kind is FailureKind.BAD_REQUEST


def test_a_block_dropped_while_it_is_computed_is_kept_nowhere(make_bench: MakeBench) -> None:
    bench, request = make_bench(), ask("1", LEAVE * 3)
    bench.core.submit(request)
    bench.core.step()
    bench.core.step()
    bench.core.drop_prefixes(None)
    bench.run()
    assert bench.text("1") == expected(request)
    assert facts(bench).num_memory_blocks == 0
    assert bench.core.status().num_cells_used == bench.backend.num_cells_used == 0


def test_requests_that_want_the_same_block_at_once_compute_it_once(make_bench: MakeBench) -> None:
    bench = make_bench()
    run(bench, ask("1", LEAVE * 2, PAY), ask("2", PAY, LEAVE * 2), ask("3", TRAVEL, LEAVE * 2))
    assert facts(bench).num_misses == 3


def test_a_request_whose_block_was_being_computed_by_a_cancelled_one_goes_on(make_bench: MakeBench) -> None:
    bench, request = make_bench(), ask("2", LEAVE * 3, PAY)
    run(bench, ask("0", TRAVEL))
    bench.core.submit(ask("1", LEAVE * 3))
    bench.core.submit(request)
    bench.core.step()
    bench.core.cancel("1")
    bench.run()
    assert bench.text("2") == expected(request)


def test_a_failed_batch_leaves_no_half_computed_block(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.core.submit(ask("1", LEAVE * 3))
    bench.core.step()
    bench.core.step()
    bench.backend.is_failing = True
    bench.core.step()
    bench.backend.is_failing = False
    assert bench.failed("1").kind == FailureKind.ENGINE
    bench.core.check_integrity()
    assert bench.core.status().num_cells_used == bench.backend.num_cells_used == 0
    run(bench, ask("2", LEAVE * 3))


def test_choices_of_one_prompt_compute_it_once(make_bench: MakeBench) -> None:
    bench = make_bench()
    requests = [ask(str(number), LEAVE, PAY, adapter=BRAND_A) for number in range(3)]
    run(bench, *requests)
    assert facts(bench).num_misses == 2
    assert (
        sorted(bench.finished(str(number)).num_cached_tokens for number in range(3))[1:]
        == [len(requests[0].tokens) - 1] * 2
    )


@pytest.mark.parametrize("bounds", [(9,), (0, 9), (9, 9, 12), (9, 200), (12, 9)])
def test_bounds_that_make_no_sense_are_refused(make_bench: MakeBench, bounds: tuple[int, ...]) -> None:
    bench = make_bench()
    bench.core.submit(replace(ask("1", LEAVE), fact_bounds=bounds))
    assert bench.failed("1").kind == FailureKind.BAD_REQUEST


@pytest.mark.parametrize("boundary", [0, 12])
def test_an_adapter_that_is_on_within_the_sources_reads_them_in_one_piece(make_bench: MakeBench, boundary: int) -> None:
    bench, request = make_bench(), replace(ask("1", LEAVE, PAY, adapter=BRAND_A), voice_boundary=boundary)
    run(bench, ask("0", LEAVE, PAY))
    bench.core.submit(request)
    bench.run()
    assert bench.text("1") == expected(replace(request, fact_bounds=()))
    assert facts(bench).num_context_hits == 0


@pytest.mark.parametrize(
    ("change", "shape", "reason"),
    [
        ({"is_forgetful": True}, DEFAULT_SHAPE, "not those that were saved"),
        ({"is_failing": True}, DEFAULT_SHAPE, "told to fail"),
        ({"block_problem": "this model looks back"}, DEFAULT_SHAPE, "this model looks back"),
        ({}, replace(DEFAULT_SHAPE, num_sequences=3), "no room for blocks"),
    ],
)
def test_where_the_self_test_fails_prompts_are_read_in_one_piece(
    settings: EngineSettings,
    change: dict[str, object],
    shape: BackendShape,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(settings, shape, prepare=lambda backend: vars(backend).update(change))
    bench.backend.is_failing = False
    request = ask("1", LEAVE, PAY)
    bench.core.submit(request)
    bench.run()
    assert bench.text("1") == expected(replace(request, fact_bounds=()))
    assert facts(bench).layout == "exact"
    assert reason in facts(bench).note
    assert reason in caplog.text


def test_a_prompt_with_the_same_block_twice_is_read_in_one_piece(make_bench: MakeBench) -> None:
    bench, request = make_bench(), ask("1", LEAVE, PAY, LEAVE)
    bench.core.submit(request)
    bench.run()
    assert bench.text("1") == expected(replace(request, fact_bounds=()))


def test_exact_ignores_the_bounds(make_bench: MakeBench) -> None:
    bench, request = make_bench(fact_layout="exact"), ask("1", LEAVE, PAY)
    bench.core.submit(request)
    bench.run()
    assert bench.text("1") == expected(replace(request, fact_bounds=()))
    assert facts(bench) == FactStatus()


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 100_000))
def test_any_mixture_gives_every_request_its_own_answer(make_bench: MakeBench, seed: int) -> None:
    """Blocks in any order and number, few cells, few sequences, little memory; some requests go, scopes are dropped."""
    chance = random.Random(seed)
    shape = replace(DEFAULT_SHAPE, num_cells=chance.choice([160, 256]), num_sequences=chance.choice([4, 8]))
    bench = make_bench(shape, max_queued=1_000, fact_memory_bytes=chance.choice([0, 600, 100_000]))
    pool = [LEAVE, TRAVEL, PAY, "No. ", "Yes. " * 6]
    open_requests: dict[str, GenerateRequest] = {}
    for number in range(30):
        blocks = chance.sample(pool, chance.randint(0, 3))
        request = ask(
            str(number),
            *blocks,
            question=chance.choice([" why?", " when is it?"]),
            adapter=chance.choice([None, BRAND_A, BRAND_B]),
            scope=chance.choice(["", "groups:hr"]),
            max_tokens=chance.randint(1, 12),
        )
        bench.core.submit(request)
        open_requests[request.request_id] = request
        for _ in range(chance.randint(0, 6)):
            bench.core.step()
        if chance.random() < 0.15:
            bench.core.cancel(open_requests.pop(chance.choice(sorted(open_requests))).request_id)
        if chance.random() < 0.1:
            bench.core.drop_prefixes(chance.choice([None, frozenset({"leave"})]))
        bench.core.check_integrity()
    bench.run()
    for request in open_requests.values():
        assert bench.text(request.request_id) == expected(request)
    assert bench.core.status().num_cells_used == bench.backend.num_cells_used
