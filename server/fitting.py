"""Making a conversation fit the token limit. Pure: what goes first is decided here and nowhere else.

Earlier turns are dropped from the oldest on, then sources from the last on. The last question and one source always
stay: an answer without its facts, or to half a question, is worse than an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from config.errors import BadRequestError
from config.prompt import Conversation, Encode, Prompt, Turn, TurnFormat, render

MAX_CHARACTERS_PER_TOKEN = 64
"""No vocabulary has longer tokens in number; a text beyond this many a token is refused without tokenising it."""


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """max_total: prompt and answer together. num_reserved: kept free for the answer where possible."""

    max_total: int
    num_reserved: int

    @property
    def max_prompt(self) -> int:
        return self.max_total - 1


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    """What is sent to the engine, and what of the conversation is in it."""

    prompt: Prompt
    conversation: Conversation


def fit(conversation: Conversation, turn_format: TurnFormat, encode: Encode, limits: TokenLimits) -> FittedPrompt:
    """Drop what must be dropped. Raises BadRequestError (context_length_exceeded) where the rest is still too long."""
    _refuse_hopeless(conversation, limits)
    question = replace(conversation, turns=conversation.turns[-1:])
    num_least = len(render(replace(question, sources=question.sources[:1]), turn_format, encode).tokens)
    if num_least > limits.max_prompt:
        raise too_long(limits.max_total, num_least)
    budget = max(limits.max_total - limits.num_reserved, num_least)
    kept = _drop_sources(question, turn_format, encode, budget)
    room = budget - len(render(kept, turn_format, encode).tokens)
    earlier = _newest_that_fit(conversation.turns[:-1], turn_format, encode, room)
    kept = replace(kept, turns=(*earlier, conversation.turns[-1]))
    return FittedPrompt(render(kept, turn_format, encode), kept)


def too_long(max_total: int, num_tokens: int, param: str = "messages") -> BadRequestError:
    return BadRequestError(
        f"This model reads at most {max_total} tokens, prompt and answer together; the request has {num_tokens}.",
        param,
        "context_length_exceeded",
        "Shorten it.",
    )


def _refuse_hopeless(conversation: Conversation, limits: TokenLimits) -> None:
    texts = (conversation.turns[-1].content, conversation.instructions, conversation.brand_words, conversation.system)
    num_characters = sum(map(len, texts))
    if num_characters > limits.max_total * MAX_CHARACTERS_PER_TOKEN:
        raise too_long(limits.max_total, num_characters // MAX_CHARACTERS_PER_TOKEN)


def _drop_sources(question: Conversation, turn_format: TurnFormat, encode: Encode, budget: int) -> Conversation:
    for num_sources in range(len(question.sources), 1, -1):
        kept = replace(question, sources=question.sources[:num_sources])
        if len(render(kept, turn_format, encode).tokens) <= budget:
            return kept
    return replace(question, sources=question.sources[:1])


def _newest_that_fit(earlier: Sequence[Turn], turn_format: TurnFormat, encode: Encode, room: int) -> tuple[Turn, ...]:
    """The longest tail that fits and starts with a user's turn."""
    kept: list[Turn] = []
    for turn in reversed(earlier):
        room -= _num_tokens(turn, turn_format, encode, room)
        if room < 0:
            break
        kept.insert(0, turn)
    while kept and kept[0].role == "assistant":
        kept.pop(0)
    return tuple(kept)


def _num_tokens(turn: Turn, turn_format: TurnFormat, encode: Encode, room: int) -> int:
    if len(turn.content) > room * MAX_CHARACTERS_PER_TOKEN:
        return room + 1
    is_user = turn.role == "user"
    opening = turn_format.user_open if is_user else turn_format.assistant_open
    closing = turn_format.user_close if is_user else turn_format.assistant_close
    return len(encode(opening, True)) + len(encode(turn.content, False)) + len(encode(closing, True))
