"""Drafts change how fast an answer comes, and nothing else."""

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from config.settings import EngineSettings
from server.engine.drafts import CLASSES, MAX_DRAFTS, PRIOR, Drafter
from server.engine.fake import DEFAULT_SHAPE, END, FakeBackend, expected_answer, quoted_token
from server.engine.messages import FailureKind, FinishReason, GenerateRequest, Sampling, TextEvent
from server.engine.steptime import StepTable
from tests.server.engine.bench import Bench
from tests.server.engine.test_engine_core import BRAND_A, BRAND_B, ask

FREE_ROWS = StepTable(((1, 1.0), (64, 1.01)))
"""Whatever has any chance is worth a row."""
SOME_ROWS = StepTable(((1, 1.0), (8, 2.4), (16, 6.0)))
PROMPT = "The desk is open from nine to five. Parcels above twenty kilos are collected. Who collects the parcels? "


def quoting(backend: FakeBackend) -> None:
    backend.choose = quoted_token


def make(settings: EngineSettings, table: StepTable | None = FREE_ROWS, **changes: object) -> Bench:
    roomy = {"context_tokens": 1_024, "max_request_tokens": 300}
    shape = replace(DEFAULT_SHAPE, num_cells=1_024, max_positions=1_024)
    return Bench(settings.model_copy(update=roomy | changes), shape, prepare=quoting, table=table)


def expected(request: GenerateRequest) -> str:
    voice = int(request.adapter.sha256, 16) if request.adapter else 0
    return expected_answer(
        request.tokens, voice, request.voice_boundary, request.max_tokens, choose=quoted_token
    ).decode()


def answer(settings: EngineSettings, request: GenerateRequest, table: StepTable | None) -> tuple[str, Bench]:
    bench = make(settings, table)
    bench.core.submit(request)
    bench.run()
    return bench.text(request.request_id), bench


# The guesses


def test_what_followed_the_longest_match_is_guessed() -> None:
    drafter = Drafter(b"the cat sat. a hat sat on the mat. the cat")
    assert bytes(drafter.guess.tokens) == b" sat. a hat sat"
    assert (drafter.guess.match_length, len(drafter.guess.tokens)) == (7, MAX_DRAFTS)


def test_of_equal_matches_the_latest_is_taken() -> None:
    assert bytes(Drafter(b"ab1 ab2 xab").guess.tokens)[:1] == b"2"


def test_without_a_match_nothing_is_guessed() -> None:
    assert Drafter(b"abcdef").guess.tokens == ()
    assert Drafter(b"a").guess.tokens == ()
    assert Drafter(b"abcdef").gains(8) == ()


def test_an_answer_is_quoted_too() -> None:
    drafter = Drafter(b"prompt: ")
    for token in b"one two one t":
        drafter.push(token)
    assert bytes(drafter.guess.tokens)[:2] == b"wo"


def test_gains_are_of_all_tokens_up_to_there_and_rise_with_the_length_of_the_match() -> None:
    drafter = Drafter(b"12345678901 12345678")
    assert drafter.guess.match_length == 8
    assert drafter.gains(3) == pytest.approx((PRIOR[3], PRIOR[3] * PRIOR[4], PRIOR[3] * PRIOR[4] ** 2))
    assert CLASSES[3] <= 8 < CLASSES[4]


def test_a_request_learns_how_often_its_guesses_are_right() -> None:
    right, wrong = Drafter(b".ab1"), Drafter(b".ab1")
    for number in range(40):
        for token in (1_000 + number, ord("a"), ord("b")):
            right.push(token)
            wrong.push(token)
        right.push(ord("1"))
        wrong.push(2_000 + number)
    for drafter in (right, wrong):
        for token in b"\0ab":
            drafter.push(token)
    assert right.guess.match_length == wrong.guess.match_length == 2
    assert wrong.gains(1)[0] < 0.1 < PRIOR[0] < 0.9 < right.gains(1)[0]


@hypothesis_settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=60), st.lists(st.integers(0, 3), max_size=60))
def test_a_guess_is_what_followed_a_real_match(prompt: list[int], rest: list[int]) -> None:
    drafter = Drafter(prompt)
    for token in rest:
        drafter.push(token)
    tokens, guess = [*prompt, *rest], drafter.guess
    if guess.tokens:
        match = tokens[-guess.match_length :]
        whole = (*match, *guess.tokens)
        assert any(tuple(tokens[n : n + len(whole)]) == whole for n in range(len(tokens)))
    gains = drafter.gains(MAX_DRAFTS)
    assert list(gains) == sorted(gains, reverse=True)
    assert len(gains) == len(guess.tokens)


# The loop


def test_the_answer_is_the_one_without_drafts_in_fewer_steps(settings: EngineSettings) -> None:
    request = ask("1", PROMPT, 80)
    plain, without = answer(settings, request, None)
    drafted, bench = answer(settings, request, FREE_ROWS)
    assert drafted == plain == expected(request)
    assert bench.core.status().num_steps < without.core.status().num_steps
    drafts = bench.core.status().drafts
    assert drafts.is_on
    assert 0 < drafts.num_accepted < drafts.num_drafted
    assert bench.finished("1").num_answer_tokens == without.finished("1").num_answer_tokens
    assert bench.core.status().num_answer_tokens == without.core.status().num_answer_tokens


def test_settings_switch_drafts_off(settings: EngineSettings) -> None:
    bench = make(settings, drafts="off")
    bench.core.submit(ask("1", PROMPT, 40))
    bench.run()
    assert bench.core.status().drafts.note == 'engine.drafts = "off"'
    assert all(span.num_drafts == 0 for spans in bench.backend.batches for span in spans)


def test_a_model_whose_state_cannot_be_cut_answers_without_drafts(settings: EngineSettings) -> None:
    shape = replace(DEFAULT_SHAPE, can_share_prefixes=False)
    bench = Bench(settings, shape, prepare=quoting, table=FREE_ROWS)
    request = ask("1", PROMPT[-60:], 40)
    bench.core.submit(request)
    bench.run()
    assert bench.text("1") == expected(request)
    assert not bench.core.status().drafts.is_on


@pytest.mark.parametrize("seed", range(4))
def test_equal_seeds_give_equal_answers_with_and_without(settings: EngineSettings, seed: int) -> None:
    """The fake's best token stands out by 8 nats; at this temperature others are drawn now and then."""
    sampling = Sampling(temperature=1.0, seed=seed)
    request = replace(ask("1", PROMPT, 80), sampling=sampling)
    plain, _ = answer(settings, request, None)
    drafted, bench = answer(settings, request, FREE_ROWS)
    assert drafted == plain != expected(request)
    assert bench.core.status().drafts.num_accepted > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling": Sampling(repetition_penalty=1.5, frequency_penalty=2.0, presence_penalty=1.0)},
        {"sampling": Sampling(dry_multiplier=4.0)},
        {"sampling": Sampling(logit_bias=((ord("e"), 9.0),))},
        {"num_top_logprobs": 2},
        {"stop": ("en t",)},
        {"stop": (" o", "ne ")},
        {"max_tokens": 1},
        {"max_tokens": 2},
        {"json_schema": '{"type": "object", "properties": {"open from nine": {"enum": ["the desk", "to five"]}}}'},
    ],
)
def test_everything_that_shapes_an_answer_shapes_a_drafted_one_alike(
    settings: EngineSettings, changes: dict[str, object]
) -> None:
    request = replace(ask("1", PROMPT, 60), **changes)  # type: ignore[arg-type]
    plain, without = answer(settings, request, None)
    drafted, bench = answer(settings, request, FREE_ROWS)
    assert drafted == plain
    assert bench.events[:-1] == without.events[:-1], "text, log-probabilities, and how they are divided"
    assert bench.finished("1").reason == without.finished("1").reason


def test_a_stop_string_that_drafts_run_into_ends_the_answer(settings: EngineSettings) -> None:
    request = ask("1", PROMPT, 80)
    whole = expected(request)
    stop = whole[20:23]
    text, bench = answer(settings, replace(request, stop=(stop,)), FREE_ROWS)
    assert text == whole[: whole.index(stop)]
    assert bench.finished("1").reason == FinishReason.STOP


def test_a_refusal_that_is_settled_comes_at_once(settings: EngineSettings) -> None:
    words = tuple(b"We cannot help with this here.")
    sampling = Sampling(leaning=(*words, END), leaning_bias=100.0, leaning_settled=2)
    request = replace(ask("1", "?! ", 60), sampling=sampling)
    text, bench = answer(settings, request, FREE_ROWS)
    _, without = answer(settings, request, None)
    assert text.encode() == bytes(words)
    assert bench.core.status().num_steps <= 6 < without.core.status().num_steps


def test_what_comes_after_an_answer_reuses_no_draft(settings: EngineSettings) -> None:
    """The next turn shares the answer's cells; a wrong draft left among them would change what it says."""
    bench = make(settings)
    first = ask("1", PROMPT, 40)
    bench.core.submit(first)
    bench.run()
    second = ask("2", PROMPT + bench.text("1") + " And then?", 40)
    bench.core.submit(second)
    bench.run()
    assert bench.text("2") == expected(second)
    assert bench.finished("2").num_cached_tokens >= len(PROMPT) + len(bench.text("1")) - 1


def test_a_failed_batch_with_drafts_leaves_no_cells(settings: EngineSettings) -> None:
    bench = make(settings)
    bench.core.submit(ask("1", PROMPT, 80))
    while not any(span.num_drafts for spans in bench.backend.batches for span in spans):
        bench.core.step()
    bench.backend.is_failing = True
    bench.core.step()
    bench.backend.is_failing = False
    assert bench.failed("1").kind == FailureKind.ENGINE
    bench.core.check_integrity()
    assert bench.core.status().num_cells_used == bench.backend.num_cells_used == 0


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), table=st.sampled_from([FREE_ROWS, SOME_ROWS]))
def test_any_mixture_gives_every_request_its_own_answer(settings: EngineSettings, seed: int, table: StepTable) -> None:
    """Requests come and go in any order, quote here and there, share beginnings; some are cancelled."""
    chance = random.Random(seed)
    bench = make(settings, table, max_queued=1_000, context_tokens=512)
    open_requests: dict[str, GenerateRequest] = {}
    for number in range(16):
        prompt = "all the facts " * chance.randint(0, 4) + chance.choice(["the question of facts", "query", "all q"])
        adapter = chance.choice([None, BRAND_A, BRAND_B])
        request = ask(str(number), prompt, chance.randint(1, 40), adapter, chance.randint(0, len(prompt)))
        bench.core.submit(request)
        open_requests[request.request_id] = request
        for _ in range(chance.randint(0, 6)):
            bench.core.step()
            bench.core.check_integrity()
        if chance.random() < 0.15:
            cancelled = chance.choice(sorted(open_requests))
            bench.core.cancel(cancelled)
            del open_requests[cancelled]
    bench.run()
    for request in open_requests.values():
        assert bench.text(request.request_id) == expected(request)
    assert bench.core.status().num_cells_used == bench.backend.num_cells_used


def test_text_events_come_one_a_token(settings: EngineSettings) -> None:
    _, bench = answer(settings, ask("1", PROMPT, 40), FREE_ROWS)
    events = [event for event in bench.events if isinstance(event, TextEvent)]
    assert all(event.num_tokens == 1 for event in events)
