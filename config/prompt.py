"""The prompt, rendered by one function for training and for serving, so that a brand is trained on what it will see.

    [system, sources]* [earlier turns] | [brand prompt, last question] [assistant]
                                       ^ voice boundary: the adapter is on from here

Everything before the boundary is the same for every brand and is computed by the base alone, so its KV is shared.
Where sources are read as blocks, the brand prompt is one of them instead: [system, sources, brand prompt]* ...; see
`config.fact_layout`.
Template text (turn markers) and content are separate segments: only template text may become special tokens, so a
document or a message that contains a turn marker stays plain text.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

PROMPT_VERSION = 1
"""Raised whenever the rendered tokens change; an adapter is trained for one version."""

SENTENCE_END = re.compile(r"(?<=[\w)\]%°\"'”’])([.!?])(?=\s|$)")

GROUNDED_SYSTEM = (
    "You answer questions from company documents. Use only the sources below and cite each fact as [n]. "
    "If the sources do not contain the answer, say so."
)
PLAIN_SYSTEM = "You are a helpful assistant."

Encode = Callable[[str, bool], list[int]]
"""(text, is_template) -> token ids without any added BOS; special tokens are recognised only where is_template."""


@dataclass(frozen=True, slots=True)
class Turn:
    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Source:
    """One retrieved piece as the model sees it; see `format_source`."""

    number: int
    title: str
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class TurnFormat:
    """The strings a model's chat template puts around each turn; see `config.chat_template`."""

    begin: str
    system_open: str
    system_close: str
    user_open: str
    user_close: str
    assistant_open: str
    assistant_close: str
    system_in_first_user: bool = False
    """The template knows no system role: system_open is already the opening of the first user turn."""


@dataclass(frozen=True, slots=True)
class Segment:
    text: str
    is_template: bool


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is to be answered. `turns` ends with a user turn; `instructions` stand in front of it.

    brand_words: instructions that are the same for all of a brand's questions, as a block behind the sources, and only
    where there are sources. They are computed once a brand, where in front of the question they would be once a prompt.
    """

    turns: tuple[Turn, ...]
    sources: tuple[Source, ...] = ()
    instructions: str = ""
    system: str = ""
    brand_words: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids, the indexes between which the sources stand, and the one from which the adapter is on:
    0 <= sources_start <= sources_end <= voice_boundary <= len(tokens).

    fact_bounds: where each source begins, and last where the last one ends; empty without sources. What stands before
    the first is the same for every set of sources. Brand words in a block of their own count as a source, the last one.
    """

    tokens: tuple[int, ...]
    sources_start: int
    sources_end: int
    voice_boundary: int
    fact_bounds: tuple[int, ...] = ()


def render(conversation: Conversation, turn_format: TurnFormat, encode: Encode) -> Prompt:
    """Tokens of the whole prompt up to where the assistant starts to write."""
    system = encode_segments(system_segments(conversation, turn_format), encode)
    parts = [encode_segments([segment], encode) for segment in source_segments(conversation)]
    ends = tuple(accumulate((len(part) for part in parts), initial=len(system)))
    earlier = encode_segments(earlier_segments(conversation, turn_format), encode)
    after = encode_segments(voice_segments(conversation, turn_format), encode)
    tokens = (*system, *(token for part in parts for token in part), *earlier, *after)
    return Prompt(tokens, len(system), ends[-1], ends[-1] + len(earlier), ends[1:])


def with_brand_block(conversation: Conversation) -> Conversation:
    """Its instructions, which are the brand's alone, as a block behind the sources, where there are any."""
    if not conversation.sources:
        return conversation
    return replace(conversation, instructions="", brand_words=conversation.instructions)


def shared_segments(conversation: Conversation, turn_format: TurnFormat) -> list[Segment]:
    """Everything before the voice boundary."""
    return [
        *system_segments(conversation, turn_format),
        *source_segments(conversation),
        *earlier_segments(conversation, turn_format),
    ]


def system_segments(conversation: Conversation, turn_format: TurnFormat) -> list[Segment]:
    system = conversation.system or (GROUNDED_SYSTEM if conversation.sources else PLAIN_SYSTEM)
    return [
        Segment(turn_format.begin + turn_format.system_open, is_template=True),
        Segment(system, is_template=False),
    ]


def source_segments(conversation: Conversation) -> list[Segment]:
    """Each source is a segment of its own: its tokens never depend on others. Brand words are one more."""
    if not conversation.sources:
        return []
    blocks = [format_source(source) for source in conversation.sources]
    if conversation.brand_words:
        blocks.append(conversation.brand_words)
    return [Segment(text, is_template=False) for text in ("\n\nSources:\n", *blocks)]


def earlier_segments(conversation: Conversation, turn_format: TurnFormat) -> list[Segment]:
    """The end of the system message, and the turns before the last question."""
    segments = [Segment(turn_format.system_close, is_template=True)]
    for index, turn in enumerate(conversation.turns[:-1]):
        segments += _turn_segments(turn, turn_format, is_first=index == 0)
    return segments


def voice_segments(conversation: Conversation, turn_format: TurnFormat) -> list[Segment]:
    """The last user turn with the brand's instructions, and the opening of the answer."""
    question = conversation.turns[-1].content
    content = f"{conversation.instructions}\n\n{question}" if conversation.instructions else question
    turn = _turn_segments(Turn("user", content), turn_format, is_first=len(conversation.turns) == 1)
    return [*turn, Segment(turn_format.assistant_open, is_template=True)]


def format_source(source: Source) -> str:
    """The number stands in the heading and behind every sentence, where an answer that quotes it will put it.

    Telling which block a sentence came from is hard for a small model; copying the marker along with the sentence is
    what every model does by itself.
    """
    place = f"{source.title} > {source.heading}" if source.heading else source.title
    marker = f" [{source.number}]"
    lines = [_mark(line, marker) for line in source.text.splitlines() if line.strip()]
    return "\n".join([f"[{source.number}] {place}", *lines, "", ""])


def _mark(line: str, marker: str) -> str:
    marked = SENTENCE_END.sub(rf"{marker}\1", line.rstrip())
    return marked if marked.rstrip(".!?").endswith(marker) else marked + marker


def encode_segments(segments: Sequence[Segment], encode: Encode) -> list[int]:
    return [token for segment in segments if segment.text for token in encode(segment.text, segment.is_template)]


def _turn_segments(turn: Turn, turn_format: TurnFormat, *, is_first: bool) -> list[Segment]:
    is_user = turn.role == "user"
    is_open = is_first and turn_format.system_in_first_user
    opening = turn_format.user_open if is_user else turn_format.assistant_open
    return [
        Segment("" if is_open else opening, is_template=True),
        Segment(turn.content, is_template=False),
        Segment(turn_format.user_close if is_user else turn_format.assistant_close, is_template=True),
    ]
