"""The loop on the fake backend: every answer equals the one computed in one's head, whatever runs beside it."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from server.engine.fake import DEFAULT_SHAPE, expected_answer
from server.engine.messages import (
    AdapterRef,
    FailureKind,
    FinishReason,
    GenerateRequest,
    Sampling,
    Scope,
    TextEvent,
)
from tests.server.engine.bench import Bench

MakeBench = Callable[..., Bench]
BRAND_A = AdapterRef("a@1", Path("a.gguf"), "a1")
BRAND_B = AdapterRef("b@1", Path("b.gguf"), "b2")


def ask(
    request_id: str, prompt: str, max_tokens: int = 10, adapter: AdapterRef | None = None, boundary: int = 0
) -> GenerateRequest:
    return GenerateRequest(request_id, tuple(prompt.encode()), max_tokens, boundary, adapter)


def expected(request: GenerateRequest) -> str:
    voice = int(request.adapter.sha256, 16) if request.adapter else 0
    return expected_answer(request.tokens, voice, request.voice_boundary, request.max_tokens).decode()


def test_one_answer(make_bench: MakeBench) -> None:
    bench, request = make_bench(), ask("1", "hello world")
    bench.core.submit(request)
    bench.run()
    assert bench.text("1") == expected(request) != ""
    end = bench.finished("1")
    assert (end.reason, end.num_prompt_tokens, end.num_cached_tokens) == (FinishReason.LENGTH, 11, 0)
    assert end.num_answer_tokens == len(bench.text("1"))


def test_an_end_token_ends_the_answer(make_bench: MakeBench) -> None:
    prompt = next(f"{n}" for n in range(1_000) if 0 < len(expected(ask("x", f"{n}", 40))) < 40)
    bench, request = make_bench(), ask("1", prompt, 40)
    bench.core.submit(request)
    bench.run()
    assert bench.text("1") == expected(request)
    assert bench.finished("1").reason == FinishReason.STOP


def test_a_long_prompt_is_read_in_slices_while_others_decode(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.core.submit(ask("stream", "hi", 30))
    bench.core.step()
    bench.core.submit(ask("long", "x" * 64, 5))
    bench.run()
    sizes = [[len(span.tokens) for span in spans] for spans in bench.backend.batches]
    assert [1, 16] in sizes
    assert all(sum(size for size in batch if size > 1) <= 16 for batch in sizes)
    assert bench.text("stream") == expected(ask("stream", "hi", 30))


def test_brands_never_mix(make_bench: MakeBench) -> None:
    """P5: the same prompt to two brands and the base, over and over, each equal to its own cold answer."""
    bench = make_bench()
    requests = [
        ask(f"{round_}-{name}", "the same question", 6, adapter, 9)
        for round_ in range(3)
        for name, adapter in (("a", BRAND_A), ("b", BRAND_B), ("base", None))
    ]
    for request in requests:
        bench.core.submit(request)
    bench.run()
    assert {request.request_id: bench.text(request.request_id) for request in requests} == {
        request.request_id: expected(request) for request in requests
    }
    assert bench.finished("2-a").num_cached_tokens == 16


def test_tokens_before_the_boundary_are_computed_by_the_base_and_shared_between_brands(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.core.submit(ask("a", "facts facts facts question", 3, BRAND_A, 18))
    bench.run()
    bench.core.submit(ask("b", "facts facts facts question", 3, BRAND_B, 18))
    bench.run()
    assert bench.finished("b").num_cached_tokens == 18
    assert bench.text("b") == expected(ask("b", "facts facts facts question", 3, BRAND_B, 18))
    by_adapter = {spans[0].adapter for spans in bench.backend.batches if spans[0].start < 18}
    assert by_adapter == {None}


def test_a_boundary_at_the_end_switches_the_voice_on_with_the_first_answer_token(make_bench: MakeBench) -> None:
    bench, request = make_bench(), ask("1", "question", 5, BRAND_A, 8)
    bench.core.submit(request)
    bench.run()
    assert bench.text("1") == expected(request)


def test_equal_prompts_at_once_are_computed_once(make_bench: MakeBench) -> None:
    bench = make_bench()
    prompt = "a prompt that is long enough to be worth waiting for, really"
    for number in range(4):
        bench.core.submit(ask(str(number), prompt, 4))
    bench.run()
    cached = sorted(bench.finished(str(number)).num_cached_tokens for number in range(4))
    assert cached == [0, *[len(prompt) - 1] * 3]


def test_scopes_do_not_share(make_bench: MakeBench) -> None:
    bench = make_bench()
    for number, scope in enumerate(("alice", "bob", "alice")):
        bench.core.submit(replace(ask(str(number), "a secret prompt", 4), scopes=(Scope(0, scope),)))
        bench.run()
    assert [bench.finished(str(number)).num_cached_tokens for number in range(3)] == [0, 0, 14]


def test_dropped_prefixes_are_not_found_again(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.core.submit(ask("1", "some prompt", 4))
    bench.run()
    bench.core.drop_prefixes(None)
    bench.core.check_integrity()
    assert bench.core.status().num_cells_used == bench.backend.num_cells_used == 0
    bench.core.submit(ask("2", "some prompt", 4))
    bench.run()
    assert bench.finished("2").num_cached_tokens == 0


def test_requests_wait_for_cells_and_all_finish(make_bench: MakeBench) -> None:
    bench = make_bench(max_queued=64)
    requests = [ask(str(number), f"{number} " + "p" * 60, 50) for number in range(12)]
    for request in requests:
        bench.core.submit(request)
    bench.run()
    assert [bench.text(request.request_id) for request in requests] == [expected(request) for request in requests]


def test_the_queue_is_bounded(make_bench: MakeBench) -> None:
    bench = make_bench(max_queued=2, max_running=2)
    for number in range(6):
        bench.core.submit(ask(str(number), "hello", 4))
    assert [bench.failed(str(number)).kind for number in (4, 5)] == [FailureKind.OVERLOADED] * 2
    bench.run()
    assert all(bench.finished(str(number)) for number in range(4))


def test_a_cancelled_request_stops_within_one_step(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.core.submit(ask("1", "hello there", 100))
    bench.core.submit(ask("2", "something else", 5))
    for _ in range(4):
        bench.core.step()
    bench.core.cancel("1")
    num_batches, num_events = len(bench.backend.batches), len(bench.events)
    bench.run()
    assert len(bench.backend.batches) - num_batches <= 5
    assert all(event.request_id == "2" for event in bench.events[num_events:])
    assert bench.core.status().num_running == 0


def test_a_queued_request_can_be_cancelled(make_bench: MakeBench) -> None:
    bench = make_bench(max_running=1)
    for number in range(2):
        bench.core.submit(ask(str(number), "hello", 4))
    bench.core.step()
    bench.core.cancel("1")
    bench.core.cancel("unknown")
    bench.run()
    assert {event.request_id for event in bench.events} == {"0"}


def test_too_long_prompts_are_refused_with_both_numbers(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.core.submit(ask("1", "x" * 120, 4))
    failure = bench.failed("1")
    assert failure.kind == FailureKind.TOO_LONG
    assert "120 tokens" in failure.message
    assert "may have 120" in failure.message


def test_an_answer_is_clipped_where_the_limit_is_reached(make_bench: MakeBench) -> None:
    bench, request = make_bench(), ask("1", "z" * 110, 1_000)
    bench.core.submit(request)
    bench.run()
    assert bench.text("1") == expected(replace(request, max_tokens=10))
    assert bench.finished("1").reason == FinishReason.LENGTH


@pytest.mark.parametrize(
    "request_",
    [
        ask("1", "", 4),
        ask("1", "hello", 0),
        replace(ask("1", "hello", 4), tokens=(1, 9_999)),
        replace(ask("1", "hello", 4), tokens=(1, -1)),
        replace(ask("1", "hello", 4), sampling=Sampling(logit_bias=((9_999, 1.0),))),
        ask("1", "hello", 4, BRAND_A, 6),
        replace(ask("1", "hello", 4), stop=("",)),
        replace(ask("1", "hello", 4), json_schema='{"type": "nothing"}'),
    ],
)
def test_invalid_requests_are_refused(make_bench: MakeBench, request_: GenerateRequest) -> None:
    bench = make_bench()
    bench.core.submit(request_)
    assert bench.failed("1").kind == FailureKind.BAD_REQUEST
    assert not bench.core.step()


def test_a_bad_adapter_fails_its_request_only(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.core.submit(ask("bad", "hello", 4, AdapterRef("bad@1", Path("bad"), "c3"), 2))
    bench.core.submit(ask("good", "hello", 4, BRAND_A, 2))
    bench.run()
    assert bench.failed("bad").kind == FailureKind.BAD_ADAPTER
    assert bench.text("good") == expected(ask("good", "hello", 4, BRAND_A, 2))


def test_a_request_that_takes_too_long_is_ended(make_bench: MakeBench) -> None:
    bench = make_bench(request_timeout_seconds=1e-9, max_running=1)
    bench.core.submit(ask("1", "hello", 4))
    bench.run()
    assert bench.failed("1").kind == FailureKind.TIMED_OUT


def test_a_failed_batch_fails_its_requests_and_leaves_no_cells(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.core.submit(ask("1", "hello", 20))
    bench.core.step()
    bench.backend.is_failing = True
    bench.core.step()
    bench.backend.is_failing = False
    assert bench.failed("1").kind == FailureKind.ENGINE
    assert bench.core.status().num_cells_used == bench.backend.num_cells_used == 0
    assert "told to fail" in bench.core.status().last_error
    bench.core.submit(ask("2", "hello", 4))
    bench.run()
    assert bench.text("2") == expected(ask("2", "hello", 4))


def test_stop_strings_end_the_answer_and_are_not_shown(make_bench: MakeBench) -> None:
    bench, request = make_bench(), ask("1", "where to stop", 20)
    whole = expected(request)
    bench.core.submit(replace(request, stop=(whole[5:8], "never")))
    bench.run()
    assert bench.text("1") == whole[: whole.index(whole[5:8])]
    assert bench.finished("1").reason == FinishReason.STOP


def test_log_probabilities_come_with_the_text_they_belong_to(make_bench: MakeBench) -> None:
    bench, request = make_bench(), ask("1", "where to stop", 20)
    whole = expected(request)
    bench.core.submit(replace(request, stop=(whole[5:8],), num_top_logprobs=2))
    bench.run()
    texts = [event for event in bench.events if isinstance(event, TextEvent)]
    choices = [choice for event in texts for choice in event.choices]
    assert b"".join(choice.chosen.piece for choice in choices).decode() == bench.text("1")
    assert all(len(choice.alternatives) == 2 for choice in choices)


def test_json_answers_follow_their_schema(make_bench: MakeBench) -> None:
    schema = '{"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}'
    bench = make_bench()
    bench.core.submit(replace(ask("1", "json", 60), json_schema=schema))
    bench.run()
    assert bench.text("1").startswith("{")


def test_models_whose_state_cannot_be_cut_still_answer(make_bench: MakeBench) -> None:
    bench = make_bench(replace(DEFAULT_SHAPE, can_share_prefixes=False))
    for number in range(3):
        bench.core.submit(ask(str(number), "the same prompt", 4))
    bench.run()
    assert {bench.text(str(number)) for number in range(3)} == {expected(ask("0", "the same prompt", 4))}
    assert bench.core.status().num_cells_used == 0


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_any_mixture_gives_every_request_its_own_answer(make_bench: MakeBench, seed: int) -> None:
    """Requests come and go in any order; prompts share beginnings; cells are short; some are cancelled."""
    chance = random.Random(seed)
    bench = make_bench(max_queued=1_000)
    open_requests: dict[str, GenerateRequest] = {}
    for number in range(30):
        prompt = "facts " * chance.randint(0, 8) + chance.choice(["question", "query", "q"])
        adapter = chance.choice([None, BRAND_A, BRAND_B])
        request = ask(str(number), prompt, chance.randint(1, 30), adapter, chance.randint(0, len(prompt)))
        bench.core.submit(request)
        open_requests[request.request_id] = request
        for _ in range(chance.randint(0, 6)):
            bench.core.step()
        if chance.random() < 0.15:
            cancelled = chance.choice(sorted(open_requests))
            bench.core.cancel(cancelled)
            del open_requests[cancelled]
        bench.core.check_integrity()
    bench.run()
    for request in open_requests.values():
        assert bench.text(request.request_id) == expected(request)
        assert bench.finished(request.request_id)
    assert bench.core.status().num_cells_used == bench.backend.num_cells_used
