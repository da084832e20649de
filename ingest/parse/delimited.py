"""CSV, TSV and their kin: one table, rows that name their columns, located by row."""

import csv
import io
import sys

from ingest.documents import ParsedDocument
from ingest.parse.decode import decode
from ingest.parse.outline import Outline

DELIMITERS = ",;\t|"
SAMPLE_CHARACTERS = 16_384


def parse(data: bytes, name: str) -> ParsedDocument:
    text = decode(data).replace("\x00", "")
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter(text), skipinitialspace=True)
    rows = [row for row in reader if any(row)]
    outline = Outline()
    outline.place(f"rows 1-{len(rows)}")
    outline.table(rows)
    return outline.finish("text/csv", name)


def delimiter(text: str) -> str:
    """The character that cuts most of the first lines into the same number of cells, more than one."""
    lines = [line for line in text[:SAMPLE_CHARACTERS].splitlines()[:20] if line.strip()]
    if len(lines) > 1 and len(text) > SAMPLE_CHARACTERS:
        lines.pop()

    def agreement(mark: str) -> tuple[int, int]:
        counts = [len(row) for row in csv.reader(lines, delimiter=mark)]
        width = counts[0] if counts else 1
        return (sum(1 for count in counts if count == width) if width > 1 else 0, width)

    return max(DELIMITERS, key=agreement)
