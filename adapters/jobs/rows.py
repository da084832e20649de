"""Is an uploaded file a set of rows that can be trained on? Read line by line, so that its size costs no memory."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from adapters.curation.checks import private
from adapters.curation.rows import Row
from adapters.examples import RowProblem, listed_problems, parse_examples
from config.errors import BadRequestError

MAX_ROW_BYTES = 250_000
MAX_PROBLEMS = 1_000
"""After so many the rest is not looked at."""

WINDOW, OVERLAP = 400, 100
MAX_LOOKED_THROUGH = 20_000_000
"""Characters of a file in which personal data is looked for."""

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class RowReport:
    """All rows of a file can be trained on. num_private: of them, with what looks like personal data or a secret,
    as far as MAX_LOOKED_THROUGH reaches; num_repeated: that say what an earlier one says.
    """

    num_rows: int
    num_private: int
    num_repeated: int


def inspect_rows(path: Path, name: str, max_rows: int) -> RowReport:
    """Raises BadRequestError that lists the bad rows with line and reason. name: of the file, for people.

    Blocks; some milliseconds for a hundred rows.
    """
    reader = _Reader(max_rows)
    with path.open("rb") as file:
        for number, line in _lines(file):
            reader.read(number, line)
            if reader.has_enough:
                break
    if reader.problems:
        raise BadRequestError(
            f"{name} has {len(reader.problems)} bad rows:\n{listed_problems(reader.problems)}",
            "file",
            "invalid_file_format",
            'Each line is {"messages": [...]} with a user message and the assistant\'s answer to it.',
        )
    if not reader.num_rows:
        raise BadRequestError(f"{name} has no rows.", "file", "invalid_file_format", "Write one JSON object a line.")
    if reader.num_rows > max_rows:
        hint = "Send fewer, or raise training.max_rows."
        raise BadRequestError(f"{name} has more than {max_rows} rows.", "file", hint=hint)
    return RowReport(reader.num_rows, reader.num_private, reader.num_rows - len(reader.seen))


class _Reader:
    """What is known of the rows so far; of each good one no more than a hash is kept."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self.num_rows = 0
        self.num_private = 0
        self._num_looked_through = 0
        self.problems: list[RowProblem] = []
        self.seen: set[bytes] = set()

    @property
    def has_enough(self) -> bool:
        return len(self.problems) >= MAX_PROBLEMS or self.num_rows > self._max_rows

    def read(self, number: int, line: bytes) -> None:
        self.num_rows += 1
        problem = _problem(number, line)
        if problem is not None:
            self.problems.append(problem)
            return
        row = Row(number, json.loads(line))
        text = f"{row.conversation}\0{row.answer}"
        if self._num_looked_through < MAX_LOOKED_THROUGH:
            self._num_looked_through += len(text)
            self.num_private += _holds_private(text)
        self.seen.add(hashlib.sha256(text.encode()).digest())


def _holds_private(text: str) -> bool:
    """Looked at in overlapping windows: on a long text made for it, such patterns take quadratic time."""
    windows = (text[start : start + WINDOW] for start in range(0, len(text), WINDOW - OVERLAP))
    return any(True for window in windows for _ in private([_plain_row(window)]))


def _plain_row(text: str) -> Row:
    return Row(0, {"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": text}]})


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(number, line) of each line that is not blank, the number 1-based; never more of a line than is allowed of it."""
    number = 0
    while line := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        kept = line.removeprefix(BOM) if number == 1 else line
        while len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
            line = file.readline(MAX_ROW_BYTES + 1)
        if kept.strip():
            yield number, kept


def _problem(number: int, line: bytes) -> RowProblem | None:
    if len(line) > MAX_ROW_BYTES:
        return RowProblem(number, f"longer than {MAX_ROW_BYTES} bytes")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return RowProblem(number, f"not valid UTF-8 ({error.reason} at byte {error.start})")
    parsed = parse_examples([text], "")
    if parsed.problems:
        return RowProblem(number, parsed.problems[0].reason)
    return RowProblem(number, "an unpaired surrogate escape") if _has_half_character(text) else None


def _has_half_character(text: str) -> bool:
    """JSON can spell an unpaired surrogate, which no tokenizer takes."""
    if "\\ud" not in text.lower():
        return False
    example = parse_examples([text], "").examples[0]
    said = [*(turn.content for turn in example.conversation.turns), example.answer, example.conversation.instructions]
    said += [f"{source.title}{source.heading}{source.text}" for source in example.conversation.sources]
    try:
        "".join(said).encode()
    except UnicodeEncodeError:
        return True
    return False
