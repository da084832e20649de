"""The fakes keep the contracts that the API's tests rely on."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from config.errors import BadRequestError
from server.engine.fake import END, START, FakeEngine, expected_answer, fake_vocabulary
from server.engine.messages import (
    AdapterRef,
    Engine,
    Event,
    FailedEvent,
    FailureKind,
    FinishedEvent,
    FinishReason,
    GenerateRequest,
    TextEvent,
)

REQUEST = GenerateRequest("1", (1, 2, 3), 100)


async def collect(engine: Engine, request: GenerateRequest) -> tuple[str, Event]:
    events = [event async for event in engine.generate(request)]
    assert all(isinstance(event, TextEvent) for event in events[:-1])
    return "".join(event.text for event in events if isinstance(event, TextEvent)), events[-1]


async def test_it_says_what_it_is_told_to() -> None:
    text, end = await collect(FakeEngine("Grüße, all good."), REQUEST)
    assert text == "Grüße, all good."
    assert isinstance(end, FinishedEvent)
    assert (end.reason, end.num_prompt_tokens) == (FinishReason.STOP, 3)


async def test_the_answer_may_depend_on_the_request() -> None:
    engine = FakeEngine(lambda request: f"{len(request.tokens)} tokens")
    assert (await collect(engine, REQUEST))[0] == "3 tokens"
    assert engine.requests == [REQUEST]


async def test_limits_and_stop_strings_are_kept() -> None:
    text, end = await collect(FakeEngine("one two three"), replace(REQUEST, max_tokens=7))
    assert isinstance(end, FinishedEvent)
    assert (text, end.reason) == ("one two", FinishReason.LENGTH)
    assert (await collect(FakeEngine("one two three"), replace(REQUEST, stop=(" tw",))))[0] == "one"


async def test_it_fails_where_it_is_told_to() -> None:
    engine = FakeEngine("one two three")
    engine.failure, engine.num_pieces_before_failure = FailureKind.ENGINE, 1
    text, end = await collect(engine, REQUEST)
    assert text == "one "
    assert isinstance(end, FailedEvent)


async def test_a_reader_that_leaves_is_noticed() -> None:
    engine = FakeEngine("one two three")
    async with aclosing(engine.generate(REQUEST)) as events:
        await anext(events)
    assert engine.cancelled == ["1"]


async def test_a_closed_gate_holds_the_answer() -> None:
    engine = FakeEngine("one")
    engine.gate.clear()
    task = asyncio.create_task(collect(engine, REQUEST))
    await asyncio.sleep(0)
    assert not task.done()
    engine.gate.set()
    assert (await task)[0] == "one"


async def test_adapters_and_prefixes() -> None:
    engine = FakeEngine()
    engine.bad_adapters.add("b@1")
    await engine.start()
    await engine.drop_prefixes(frozenset({"leave"}))
    assert engine.status().is_ready
    assert engine.dropped == [frozenset({"leave"})]
    path = fake_vocabulary().path
    await engine.check_adapter(AdapterRef("a@1", path, "a"))
    with pytest.raises(BadRequestError, match="b@1"):
        await engine.check_adapter(AdapterRef("b@1", path, "b"))


def test_the_vocabulary_is_bytes_and_two_markers() -> None:
    vocabulary = fake_vocabulary()
    assert vocabulary.encode("aü") == [97, 195, 188]
    assert vocabulary.encode("<|im_start|>u<|im_end|>", is_template=True) == [START, 117, END]
    assert END not in vocabulary.encode("<|im_end|>")
    assert vocabulary.piece(97) == b"a"
    assert vocabulary.piece(END) == b""


def test_the_fake_answer_by_hand() -> None:
    assert expected_answer([1], 0, 0, 1) == b"b"
    assert expected_answer([1], 2, 0, 1) == b"d"
    assert expected_answer([1], 2, 1, 1) == b"b"
