"""Held-out questions and what a system said to them.

A file is JSONL as `housevoice adapter prepare` writes it, a brand's file of pairs (its rows of the wanted split), or
any chat-JSONL that OpenAI's fine-tuning takes. `documents` names the paths that hold the answer; an empty list means
that nothing does. `fact` is what the answer must contain; without it the numbers of the written answer stand in.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.evaluation.facts import fact_of, refuses
from adapters.format_rules import label_of
from config.brands import Brand
from config.errors import BadRequestError
from config.prompt import Turn

MAX_SHOWN = 10
BASIS = "{basis}"
WITHHELD = "-withheld"
"""Ends the ids of training rows whose source `prepare` took away; in serving that source is there."""


@dataclass(frozen=True, slots=True)
class Question:
    """One held-out pair. `turns` ends with the question, without system messages.

    documents: paths that hold the answer; None where the file does not say. fact: what the answer must contain, empty
    for nothing known. label: of a brand whose output is a label. is_answerable: whether the written answer is one, not
    the brand's refusal.
    """

    id: str
    kind: str
    turns: tuple[Turn, ...]
    reference: str
    documents: tuple[str, ...] | None
    fact: str
    label: str | None
    is_answerable: bool

    @property
    def text(self) -> str:
        return self.turns[-1].content


@dataclass(frozen=True, slots=True)
class Source:
    """What the model was given, as the reader of an answer finds it behind a citation."""

    path: str
    title: str
    heading: str
    text: str

    @property
    def everything(self) -> str:
        return f"{self.title}\n{self.heading}\n{self.text}"


@dataclass(frozen=True, slots=True)
class Marker:
    """One citation: text[start:end] is "[n]", and `source` the place of its source in `Answer.sources`."""

    start: int
    end: int
    source: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a system said. sources: all that it was given. is_refusal: the server's own, before any model was asked."""

    text: str
    markers: tuple[Marker, ...] = ()
    sources: tuple[Source, ...] = ()
    is_refusal: bool = False

    @property
    def cited_paths(self) -> tuple[str, ...]:
        """In first-use order, each once."""
        return tuple(dict.fromkeys(self.sources[marker.source].path for marker in self.markers))


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, Field(min_length=1)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: str | int | None = None
    kind: str = ""
    split: str | None = None
    messages: Annotated[list[_Message], Field(min_length=2)]
    documents: tuple[str, ...] | None = None
    fact: str = ""


def read_questions(path: Path, brand: Brand, split: str = "heldout") -> tuple[Question, ...]:
    """All rows of the split; rows that name none belong to every split.

    Raises BadRequestError that lists the bad rows with line and reason, or says that there are no rows.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequestError(f"{path} cannot be read: {error}.", "heldout") from error
    found: list[Question] = []
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = _row(line)
        except ValueError as error:
            problems.append(f"  line {number}: {error}")
            continue
        if row.split in (None, split) and not str(row.id).endswith(WITHHELD):
            found.append(_question(row, number, brand))
    _check(path, split, found, problems)
    return tuple(found)


def _check(path: Path, split: str, found: Sequence[Question], problems: list[str]) -> None:
    if problems:
        hidden = len(problems) - MAX_SHOWN
        listed = "\n".join([*problems[:MAX_SHOWN], *([f"  and {hidden} more"] if hidden > 0 else [])])
        raise BadRequestError(f"{path} has {len(problems)} bad rows:\n{listed}", "heldout", hint="Mend or remove them.")
    if not found:
        raise BadRequestError(
            f"{path} has no rows of the split {split!r}.",
            "heldout",
            hint="Write one JSON object a line; see docs/voice-evaluation.md.",
        )


def _written(reference: str, documents: tuple[str, ...] | None) -> str:
    """An answer of a file of pairs with the document's name where `prepare` puts the source's title and section."""
    path = documents[0] if documents else ""
    return reference.replace(BASIS, PurePosixPath(path).stem.replace("-", " ").capitalize() or "No document")


def _row(line: str) -> _Row:
    """Raises ValueError with the reason."""
    try:
        row = _Row.model_validate(json.loads(line))
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise ValueError("not valid JSON (nested too deeply)") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'row'}: {first['msg'].lower()}") from error
    roles = [message.role for message in row.messages if message.role not in ("system", "developer")]
    if roles[-2:] != ["user", "assistant"]:
        raise ValueError("the last two messages are not a question and its answer")
    return row


def _question(row: _Row, number: int, brand: Brand) -> Question:
    turns = [message for message in row.messages if message.role not in ("system", "developer")]
    reference = turns[-1].content
    is_answerable = bool(row.documents) if row.documents is not None else not refuses(reference, brand)
    return Question(
        id=str(number if row.id is None else row.id),
        kind=row.kind,
        turns=tuple(Turn("user" if turn.role == "user" else "assistant", turn.content) for turn in turns[:-1]),
        reference=_written(reference, row.documents),
        documents=row.documents,
        fact=(row.fact or fact_of(reference)) if is_answerable else "",
        label=label_of(reference, brand.format) if brand.format.labels and is_answerable else None,
        is_answerable=is_answerable,
    )
