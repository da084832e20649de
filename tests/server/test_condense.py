"""When a follow-up is rewritten, with what prompt, and what happens where that goes wrong."""

import pytest

from config.chat_template import turn_format_from_template
from config.prompt import Turn
from config.settings import RetrievalSettings, load_settings
from server.condense import MAX_ANSWER_TOKENS, MAX_PROMPT_TOKENS, Condenser, SearchQuery, join, stands_alone
from server.engine.fake import FakeEngine, fake_vocabulary
from server.engine.messages import FailureKind

AUTO = load_settings(environment={}).retrieval.model_copy(update={"condense": "auto"})
FIRST = (Turn("user", "How long is the H3 covered?"),)
TALK = (*FIRST, Turn("assistant", "24 months [1]."), Turn("user", "and the H5?"))
JOINED = "How long is the H3 covered?\nand the H5?"


def condenser(engine: FakeEngine, settings: RetrievalSettings = AUTO) -> Condenser:
    vocabulary = fake_vocabulary()
    turn_format = turn_format_from_template(vocabulary.chat_template, vocabulary.bos_text, vocabulary.eos_text)
    return Condenser(engine, vocabulary.encode, turn_format, settings)


async def test_the_base_rewrites_a_follow_up() -> None:
    engine = FakeEngine(" How long is the H5 covered? \nUser: more")
    found = await condenser(engine).query(TALK, "req", "key")
    assert (found.text, found.method) == ("How long is the H5 covered?", "condensed")
    request = engine.requests[0]
    assert (request.adapter, request.max_tokens, request.sampling.temperature) == (None, MAX_ANSWER_TOKENS, 0.0)
    prompt = bytes(token for token in request.tokens if token < 256).decode()
    assert "User: How long is the H3 covered?\nAssistant: 24 months [1].\nLast question: and the H5?" in prompt


@pytest.mark.parametrize(
    ("turns", "settings", "expected"),
    [
        (FIRST, AUTO, SearchQuery(FIRST[0].content, "question")),
        (TALK, AUTO.model_copy(update={"condense": "off"}), SearchQuery(JOINED, "joined")),
        (FIRST, AUTO.model_copy(update={"condense": "off"}), SearchQuery(FIRST[0].content, "question")),
        (
            (*TALK[:2], Turn("user", "Which form registers a hired delivery van?")),
            AUTO,
            SearchQuery("Which form registers a hired delivery van?", "question"),
        ),
    ],
)
async def test_no_generation_where_none_is_needed(
    turns: tuple[Turn, ...], settings: RetrievalSettings, expected: SearchQuery
) -> None:
    engine = FakeEngine()
    assert await condenser(engine, settings).query(turns, "req", "key") == expected
    assert engine.requests == []


@pytest.mark.parametrize(
    ("answer", "method"), [("\nnothing", "joined: empty"), ('""', "joined: empty"), ("so and " * 50, "joined: runaway")]
)
async def test_useless_output_joins_the_questions(answer: str, method: str) -> None:
    found = await condenser(FakeEngine(answer)).query(TALK, "req", "key")
    assert (found.text, found.method) == (JOINED, method)


async def test_a_failing_engine_joins_the_questions() -> None:
    engine = FakeEngine("How long")
    engine.failure = FailureKind.OVERLOADED
    found = await condenser(engine).query(TALK, "req", "key")
    assert (found.text, found.method) == (JOINED, "joined: overloaded")


async def test_an_engine_that_takes_too_long_is_left() -> None:
    engine = FakeEngine("How long is the H5 covered?")
    engine.gate.clear()
    found = await condenser(engine, AUTO.model_copy(update={"condense_seconds": 0.01})).query(TALK, "req", "key")
    assert (found.text, found.method) == (JOINED, "joined: timed out")
    assert engine.cancelled == ["req-query"]


async def test_long_turns_are_cut_and_a_prompt_beyond_the_limit_is_not_sent() -> None:
    engine = FakeEngine("How?")
    long = (Turn("user", "word " * 5_000), Turn("assistant", "x"), Turn("user", "and it?"))
    found = await condenser(engine).query(long, "req", "key")
    assert found.method == "joined: too long"  # a byte is a token here
    short = await condenser(engine).query(TALK, "req", "key")
    assert short.method == "condensed"
    assert len(engine.requests[0].tokens) <= MAX_PROMPT_TOKENS


async def test_markers_in_a_conversation_stay_text() -> None:
    engine = FakeEngine("How?")
    turns = (*TALK[:2], Turn("user", "<|im_end|> and it?"))
    await condenser(engine).query(turns, "req", "key")
    await condenser(engine).query(TALK, "req", "key")
    special = [sum(token > 255 for token in request.tokens) for request in engine.requests]
    assert special[0] == special[1]


@pytest.mark.parametrize(
    ("last", "alone"),
    [
        ("Which form registers a hired delivery van?", True),
        ("How often is the lift of the Quayside warehouse inspected?", True),
        ("and the mileage rate for private electric cars?", False),
        ("how long does it rest before fitting new screws?", False),
        ("What about the H5?", False),
        ("how early does the form have to be in?", False),
        ("?", False),
    ],
)
def test_the_rules(last: str, alone: bool) -> None:
    assert stands_alone((*TALK[:2], Turn("user", last))) is alone


def test_joining_takes_the_last_two_questions() -> None:
    turns = (Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"), Turn("assistant", "d"), Turn("user", "e"))
    assert join(turns) == SearchQuery("c\ne", "joined")
    assert join(turns[:1]) == SearchQuery("a", "question")
