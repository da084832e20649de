"""CSV, TSV and their kin: one table, rows that name their columns, located by row; lone cells above are its caption."""

import csv
import io
import itertools
import re
import sys

from ingest.documents import ParsedDocument
from ingest.parse.decode import decode
from ingest.parse.outline import Outline

DELIMITERS = ",;\t|"
SAMPLE_CHARACTERS = 16_384
SEPARATOR_LINE = re.compile(r"\Asep=(.)\r?\n", re.IGNORECASE)
"""Excel's own way to name the mark between the cells."""


def parse(data: bytes, name: str) -> ParsedDocument:
    text = decode(data).replace("\x00", "")
    named = SEPARATOR_LINE.match(text)
    body = text[named.end() :] if named else text
    csv.field_size_limit(sys.maxsize)
    mark = named[1] if named else delimiter(body)
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=mark, skipinitialspace=True)
    rows = [[cell.strip() for cell in row] for row in reader if any(row)]
    caption = list(itertools.takewhile(lambda row: sum(map(bool, row)) == 1, rows)) if _is_wide(rows) else []
    outline = Outline()
    outline.place(f"rows 1-{len(rows)}")
    outline.paragraph("\n".join(cell for row in caption for cell in row if cell))
    outline.table(rows[len(caption) :])
    return outline.finish("text/csv", name)


def _is_wide(rows: list[list[str]]) -> bool:
    return any(sum(map(bool, row)) > 1 for row in rows)


def delimiter(text: str) -> str:
    """The character that cuts most of the first lines into the same number of cells, more than one."""
    lines = [line for line in text[:SAMPLE_CHARACTERS].splitlines()[:20] if line.strip()]
    if len(lines) > 1 and len(text) > SAMPLE_CHARACTERS:
        lines.pop()

    def agreement(mark: str) -> tuple[int, int]:
        counts = [len(row) for row in csv.reader(lines, delimiter=mark)]
        width = max(counts, key=counts.count, default=1)
        return (counts.count(width) if width > 1 else 0, width)

    return max(DELIMITERS, key=agreement)
