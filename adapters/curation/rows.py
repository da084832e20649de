"""Rows of an example set as they came: chat-JSONL, prompt and completion in JSONL, or CSV. Nothing is lost on the way:
keys that are not known here are kept and written again.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.examples import ParsedExamples, RowProblem, parse_examples
from config.errors import BadRequestError

QUESTIONS = ("prompt", "question", "instruction", "input", "user")
ANSWERS = ("completion", "answer", "response", "output", "assistant")
SPLIT = "split"


@dataclass(frozen=True, slots=True)
class Row:
    """One example. line: of its file, 1-based. value: the row as chat-JSONL has it, other keys included."""

    line: int
    value: Mapping[str, Any] = field(repr=False)

    @property
    def messages(self) -> list[Mapping[str, Any]]:
        return [message for message in self.value["messages"] if message["role"] not in ("system", "developer")]

    @property
    def question(self) -> str:
        return text_of(self.messages[-2])

    @property
    def conversation(self) -> str:
        """All that is asked, for comparing rows: a follow-up is not the same without what it follows."""
        return "\n".join(text_of(message) for message in self.messages[:-1])

    @property
    def answer(self) -> str:
        return text_of(self.messages[-1])

    @property
    def support(self) -> str:
        """What its facts may come from: its sources and the conversation; "" where it brings no sources (`adapter
        prepare` retrieves them)."""
        sources = [f"{item.get('title', '')} {item.get('heading', '')} {item['text']}" for item in self.sources]
        return "\n".join([*sources, self.conversation]) if sources else ""

    @property
    def sources(self) -> list[Mapping[str, Any]]:
        return list(self.value.get("sources", ()))

    @property
    def kind(self) -> str:
        return str(self.value.get("kind", ""))

    @property
    def split(self) -> str:
        return str(self.value.get(SPLIT, "train"))


def text_of(message: Mapping[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(str(part.get("text", "")) for part in content)


def read_rows(path: Path) -> tuple[list[Row], list[RowProblem]]:
    """All usable rows, and why the others are not. Raises BadRequestError for a file that cannot be read at all."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequestError(f"The example file {path} cannot be read: {error}.", "examples") from error
    numbered = _from_csv(text, path) if path.suffix.lower() in (".csv", ".tsv") else _from_jsonl(text)
    rows: list[Row] = []
    problems: list[RowProblem] = []
    for line, value, problem in numbered:
        checked = _checked(value) if value is not None else problem
        if checked or value is None:
            problems.append(RowProblem(line, checked))
        else:
            rows.append(Row(line, value))
    return rows, problems


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    lines = [json.dumps(row.value, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _checked(value: Mapping[str, Any]) -> str:
    """Why `adapter train` would not take it; "" where it would."""
    parsed: ParsedExamples = parse_examples([json.dumps(value)], "")
    return parsed.problems[0].reason if parsed.problems else ""


def _from_jsonl(text: str) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    for line, written in enumerate(text.split("\n"), 1):
        if not written.strip():
            continue
        try:
            value = json.loads(written)
        except (ValueError, RecursionError) as error:
            yield line, None, f"not valid JSON ({error})"
            continue
        if not isinstance(value, dict):
            yield line, None, "not a JSON object"
        elif "messages" in value:
            yield line, value, ""
        else:
            yield (line, *_from_pair(value))


def _from_csv(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    """Raises BadRequestError where no column is a question or none an answer."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    names = [name.strip().lower() for name in reader.fieldnames or ()]
    if not set(names) & set(QUESTIONS) or not set(names) & set(ANSWERS):
        raise BadRequestError(
            f"{path} has the columns {', '.join(names) or 'none'}.",
            "examples",
            hint=f"Name one of them {' or '.join(QUESTIONS[:2])}, another {' or '.join(ANSWERS[:2])}.",
        )
    for values in reader:
        row = {str(name).strip().lower(): value or "" for name, value in values.items() if name is not None}
        yield (reader.line_num, *_from_pair(row))


def _delimiter(text: str) -> str:
    head = text.partition("\n")[0]
    return max(",;\t", key=head.count)


def _from_pair(value: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """(the row as chat, why there is none)."""
    question = next((name for name in QUESTIONS if isinstance(value.get(name), str)), None)
    answer = next((name for name in ANSWERS if isinstance(value.get(name), str)), None)
    if question is None or answer is None:
        known = ", ".join(list(value)[:6])
        return None, f"neither messages, nor a prompt with a completion (its keys: {known})"
    others = {name: item for name, item in value.items() if name not in (question, answer, "system")}
    system = [{"role": "system", "content": value["system"]}] if value.get("system") else []
    turns = [
        {"role": "user", "content": value[question].strip()},
        {"role": "assistant", "content": value[answer].strip()},
    ]
    return {**others, "messages": [*system, *turns]}, ""
