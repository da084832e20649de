"""Fitting a conversation into the token limit. Here a token is a byte, so that lengths can be counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.chat_template import CHATML
from config.errors import BadRequestError
from config.prompt import Conversation, Source, Turn, render
from server.engine.fake import fake_vocabulary
from server.fitting import FittedPrompt, TokenLimits, fit

ENCODE = fake_vocabulary().encode


def fitted(conversation: Conversation, max_total: int, num_reserved: int = 10) -> FittedPrompt:
    return fit(conversation, CHATML, ENCODE, TokenLimits(max_total, num_reserved))


def length(conversation: Conversation) -> int:
    return len(render(conversation, CHATML, ENCODE).tokens)


def talk(*contents: str, num_sources: int = 0) -> Conversation:
    turns = tuple(Turn("user" if k % 2 == 0 else "assistant", text) for k, text in enumerate(contents))
    return Conversation(turns, tuple(Source(k + 1, "T", "", f"source {k + 1}") for k in range(num_sources)))


def test_what_fits_is_left_alone() -> None:
    conversation = talk("a", "b", "c", num_sources=2)
    assert fitted(conversation, 4_000).conversation == conversation


def test_the_oldest_turns_go_first() -> None:
    conversation = talk("old" * 50, "older answer", "newer", "newer answer", "now", num_sources=2)
    kept = fitted(conversation, length(conversation) - 50).conversation
    assert [turn.content for turn in kept.turns] == ["newer", "newer answer", "now"]
    assert len(kept.sources) == 2


def test_a_conversation_never_starts_with_an_answer() -> None:
    conversation = talk("long" * 100, "answer", "now")
    kept = fitted(conversation, length(conversation) - 100).conversation
    assert [turn.content for turn in kept.turns] == ["now"]


def test_then_the_last_sources_go() -> None:
    conversation = talk("question", num_sources=4)
    kept = fitted(conversation, length(conversation)).conversation
    assert [source.number for source in kept.sources] == [1, 2, 3]


def test_one_source_always_stays() -> None:
    conversation = talk("question", num_sources=3)
    least = length(talk("question", num_sources=1))
    assert len(fitted(conversation, least + 1).conversation.sources) == 1


def test_a_question_that_is_too_long_is_an_error_with_both_numbers() -> None:
    with pytest.raises(BadRequestError, match=r"at most 500 tokens.* has \d{4}") as caught:
        fitted(talk("x" * 1_000), 500)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")


def test_an_enormous_question_is_refused_without_tokenising() -> None:
    def refuse(text: str, is_template: bool) -> list[int]:
        raise AssertionError("tokenised")

    with pytest.raises(BadRequestError):
        fit(talk("x" * 1_000_000), CHATML, refuse, TokenLimits(500, 10))


@given(st.lists(st.text(max_size=40), min_size=1, max_size=9), st.integers(0, 4), st.integers(300, 900))
def test_the_prompt_never_exceeds_the_limit(contents: list[str], num_sources: int, max_total: int) -> None:
    if len(contents) % 2 == 0:
        contents.append("q")
    result = fitted(talk(*contents, num_sources=num_sources), max_total)
    assert len(result.prompt.tokens) < max_total
    assert result.conversation.turns[-1].content == contents[-1]
    assert len(result.conversation.sources) >= min(1, num_sources)
