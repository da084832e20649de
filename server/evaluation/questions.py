"""Question files: what is asked, and where the answer stands. docs/evaluation.md describes the format for people.

    {"id": "q1", "question": "How long is the H5 covered?", "relevant": [{"document": "products/warranty-h5.md"}]}

A file of a brand's question and answer pairs is taken as well: its questions that are not trained on.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.errors import BadRequestError
from server.answer import query_of
from server.prepare import Pair, read_pairs

PAIR_SPLITS = ("heldout", "development")
SEE = "docs/evaluation.md describes the format."


@dataclass(frozen=True, slots=True)
class Expected:
    """One place that retrieval should find: a chunk of `document` (its path) that contains all of `texts`."""

    document: str
    texts: tuple[str, ...] = ()

    def is_met_by(self, path: str, text: str) -> bool:
        """Case and spacing do not count."""
        flat = _flat(text)
        return path == self.document and all(_flat(part) in flat for part in self.texts)


@dataclass(frozen=True, slots=True)
class Question:
    """Without `relevant` it is one that the documents do not answer."""

    id: str
    text: str
    relevant: tuple[Expected, ...]

    @property
    def is_answerable(self) -> bool:
        return bool(self.relevant)

    @property
    def is_about_documents(self) -> bool:
        """Any chunk of a document will do, so that documents are ranked instead of chunks."""
        return not any(expected.texts for expected in self.relevant)


Text = Annotated[str, Field(min_length=1, max_length=10_000)]


class _Relevant(BaseModel):
    model_config = ConfigDict(extra="forbid")
    document: Text
    text: Text | list[Text] = []


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: Text
    question: Text
    relevant: list[_Relevant] = []


def read_questions(path: Path) -> tuple[Question, ...]:
    """All questions of a file, in order. Raises BadRequestError that names the file, the line and what is wrong."""
    lines = _lines(path)
    questions = _from_pairs(path) if _are_pairs(lines) else [_from_line(path, number, line) for number, line in lines]
    if not questions:
        raise BadRequestError(f"{path} has no questions.", hint=SEE)
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise BadRequestError(f"{path} has two questions with the id {question.id!r}.", hint="Rename one of them.")
        seen.add(question.id)
    return tuple(questions)


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequestError(f"The question file {path} cannot be read ({error}).", hint=SEE) from error
    return [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _are_pairs(lines: list[tuple[int, str]]) -> bool:
    try:
        first = json.loads(lines[0][1]) if lines else None
    except (json.JSONDecodeError, RecursionError):
        return False
    return isinstance(first, dict) and "messages" in first


def _from_line(path: Path, number: int, line: str) -> Question:
    try:
        row = _Row.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadRequestError(
            f"{path}, line {number}: {where + ': ' if where else ''}{first['msg'].lower()}.", hint=SEE
        ) from error
    expected = tuple(
        Expected(item.document, (item.text,) if isinstance(item.text, str) else tuple(item.text))
        for item in row.relevant
    )
    return Question(row.id, row.question, expected)


def _from_pairs(path: Path) -> list[Question]:
    """What a brand is trained on is left out, so that a gate on these questions is about new ones."""
    return [_from_pair(pair) for split in PAIR_SPLITS for pair in read_pairs(path, split)]


def _from_pair(pair: Pair) -> Question:
    """Asked as the server asks: a follow-up together with the question before it."""
    return Question(pair.id, query_of(pair.turns), tuple(Expected(path, pair.evidence) for path in pair.documents))


def _flat(text: str) -> str:
    return " ".join(text.split()).lower()
