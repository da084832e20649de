"""Recall at ten on a set of questions, by which a new index generation is compared with the one it would replace."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.errors import BadRequestError
from ingest.store import FactStore

DEPTH = 10
FORM = 'One JSON object a line: {"question": "...", "relevant": [{"document": "path/in/the/source.md"}]}'

RankDocuments = Callable[[FactStore, str], list[str]]
"""The paths of the documents that a search of this store finds for a question, best first, each once."""


@dataclass(frozen=True, slots=True)
class Question:
    """documents: paths of those that answer it."""

    text: str
    documents: frozenset[str]


def read_questions(path: Path) -> list[Question]:
    """Questions without an answering document are left out. Raises BadRequestError that names file and line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequestError(f"The questions in {path} cannot be read ({error}).", "questions", hint=FORM) from error
    questions = [_question(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    return [question for question in questions if question.documents]


def _question(path: Path, number: int, line: str) -> Question:
    try:
        row = json.loads(line)
        return Question(str(row["question"]), frozenset(str(item["document"]) for item in row.get("relevant", ())))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadRequestError(f"{path}, line {number}: not a question ({error!r}).", "questions", hint=FORM) from error


def recall_at_ten(store: FactStore, questions: Sequence[Question], rank: RankDocuments) -> float:
    """The mean share of a question's documents among the first ten found; 1.0 for no questions."""
    if not questions:
        return 1.0
    return sum(_share(question, rank(store, question.text)[:DEPTH]) for question in questions) / len(questions)


def _share(question: Question, found: Sequence[str]) -> float:
    return len(question.documents.intersection(found)) / len(question.documents)
