"""Example rows: chat-JSONL as OpenAI's fine-tuning takes it, with optional sources, checked row by row.

    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}],
     "sources": [{"title": "...", "heading": "...", "text": "..."}]}

The last message is the answer that is learned; earlier ones are the conversation. A row's own system message takes the
place of the brand's instructions. Other keys of a row are left alone.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.errors import BadRequestError
from config.prompt import Conversation, Source, Turn

MAX_SHOWN = 20
CITATION = re.compile(r"\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Example:
    """One pair: what is asked, rendered as in serving, and the answer to learn. `line` is 1-based; 0 for no file.

    An answer that is not whole is a beginning: where it stops, the model does not learn to stop.
    """

    conversation: Conversation
    answer: str
    line: int = 0
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class RowProblem:
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class ParsedExamples:
    """All usable rows, and why the others are not."""

    examples: tuple[Example, ...]
    problems: tuple[RowProblem, ...]


class _TextPart(BaseModel):
    type: Literal["text"]
    text: str


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_TextPart]
    weight: Literal[0, 1] = 1

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    @property
    def is_instruction(self) -> bool:
        return self.role in ("system", "developer")


class _Source(BaseModel):
    model_config = ConfigDict(extra="ignore")
    title: Annotated[str, Field(min_length=1)]
    heading: str = ""
    text: Annotated[str, Field(min_length=1)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")
    messages: list[_Message]
    sources: list[_Source] = []


class _BadRowError(ValueError):
    """The reason why one row cannot be used."""


def read_examples(path: Path, instructions: str) -> tuple[Example, ...]:
    """All rows of a file; `instructions` is the brand's system prompt for rows that bring none.

    Raises BadRequestError that lists every bad row with its line number, or says that the file has no rows.
    """
    try:
        parsed = parse_examples(path.read_text(encoding="utf-8-sig").split("\n"), instructions)
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequestError(f"The example file {path} cannot be read: {error}.", "training_file") from error
    if parsed.problems:
        raise BadRequestError(
            f"{path} has {len(parsed.problems)} bad rows:\n{listed_problems(parsed.problems)}",
            "training_file",
            hint="Mend or remove these rows.",
        )
    if not parsed.examples:
        raise BadRequestError(f"{path} has no rows.", "training_file", hint="Write one JSON object a line.")
    return parsed.examples


def parse_examples(lines: Iterable[str], instructions: str) -> ParsedExamples:
    """Read JSONL lines; blank lines are skipped. Never raises for a bad row.

    Lines end in a line feed alone: str.splitlines would cut at U+2028 too, which may stand inside JSON text.
    """
    examples: list[Example] = []
    problems: list[RowProblem] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            examples.append(_parse_row(line, number, instructions))
        except _BadRowError as error:
            problems.append(RowProblem(number, str(error)))
    return ParsedExamples(tuple(examples), tuple(problems))


def renumbered(example: Example, numbers: Sequence[int]) -> Example:
    """The same sources in the same order under these numbers, and the answer citing them by these.

    Citations in earlier turns stay, as they do in serving, where they number an earlier retrieval.
    """
    sources = example.conversation.sources
    new_numbers = {str(source.number): number for source, number in zip(sources, numbers, strict=True)}
    answer = CITATION.sub(lambda match: f"[{new_numbers.get(match[1], match[1])}]", example.answer)
    own = tuple(replace(source, number=number) for source, number in zip(sources, numbers, strict=True))
    return replace(example, conversation=replace(example.conversation, sources=own), answer=answer)


def _parse_row(line: str, number: int, instructions: str) -> Example:
    try:
        row = _Row.model_validate(json.loads(line))
    except json.JSONDecodeError as error:
        raise _BadRowError(f"not valid JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise _BadRowError("not valid JSON (nested too deeply)") from error
    except ValidationError as error:
        raise _BadRowError(_explain(error)) from error
    except ValueError as error:  # a number of more digits than Python reads
        raise _BadRowError(f"not valid JSON ({error})") from error
    own = "\n\n".join(message.text for message in row.messages if message.is_instruction)
    turns = [message for message in row.messages if not message.is_instruction]
    answer = _answer(turns, len(row.sources))
    sources = tuple(
        Source(place, source.title, source.heading, source.text) for place, source in enumerate(row.sources, 1)
    )
    return Example(Conversation(_turns(turns[:-1]), sources, own or instructions), answer, number)


def _answer(turns: list[_Message], num_sources: int) -> str:
    if not turns or turns[-1].role != "assistant":
        raise _BadRowError("the last message is not the assistant's answer")
    answer = turns[-1].text
    if not answer.strip():
        raise _BadRowError("the answer is empty")
    if turns[-1].weight == 0:
        raise _BadRowError("the answer has weight 0, so there is nothing to learn")
    unknown = sorted({match[0] for match in CITATION.finditer(answer) if not 1 <= int(match[1]) <= num_sources})
    if num_sources and unknown:
        raise _BadRowError(f"the answer cites {', '.join(unknown)}; the row has {num_sources} sources")
    return answer


def _turns(turns: list[_Message]) -> tuple[Turn, ...]:
    if not turns or turns[-1].role != "user":
        raise _BadRowError("the message before the answer is not the user's")
    if not turns[-1].text.strip():
        raise _BadRowError("the last question is empty")
    return tuple(Turn("user" if turn.role == "user" else "assistant", turn.text) for turn in turns)


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("str", "list[_TextPart]"))
    return f"{where}: {first['msg'].lower()}" if where else "not a JSON object"


def listed_problems(problems: Sequence[RowProblem]) -> str:
    """The first of them, a line each."""
    shown = [f"  line {problem.line}: {problem.reason}" for problem in problems[:MAX_SHOWN]]
    hidden = len(problems) - len(shown)
    return "\n".join([*shown, f"  and {hidden} more"] if hidden else shown)
