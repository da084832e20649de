"""Is an uploaded file a set of rows that can be trained on? Read line by line, so that its size costs no memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from adapters.examples import RowProblem, listed_problems, parse_examples
from config.errors import BadRequestError

MAX_ROW_BYTES = 1_000_000
MAX_PROBLEMS = 1_000
"""After so many the rest is not looked at."""

BOM = b"\xef\xbb\xbf"


def count_rows(path: Path, name: str, max_rows: int) -> int:
    """The number of rows, all of them good. Raises BadRequestError that lists the bad ones with line and reason.

    name: of the file, for people. Blocks; some milliseconds for a hundred rows.
    """
    num_rows = 0
    problems: list[RowProblem] = []
    with path.open("rb") as file:
        for number, line in _lines(file):
            problem = _problem(number, line)
            num_rows += 1
            if problem:
                problems.append(problem)
            if len(problems) >= MAX_PROBLEMS or num_rows > max_rows:
                break
    if problems:
        raise BadRequestError(
            f"{name} has {len(problems)} bad rows:\n{listed_problems(problems)}",
            "file",
            "invalid_file_format",
            'Each line is {"messages": [...]} with a user message and the assistant\'s answer to it.',
        )
    if not num_rows:
        raise BadRequestError(f"{name} has no rows.", "file", "invalid_file_format", "Write one JSON object a line.")
    if num_rows > max_rows:
        raise BadRequestError(
            f"{name} has more than {max_rows} rows.", "file", hint="Send fewer, or raise training.max_rows."
        )
    return num_rows


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
