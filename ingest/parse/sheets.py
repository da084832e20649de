"""XLSX: each region of a sheet is a table that knows its cell range.

Formulas count with the value that was last saved. Lost: charts, comments, colours, hidden state.
"""

import datetime
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ingest.documents import ParsedDocument
from ingest.parse.outline import Outline, has_header, one_line, prettify

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@dataclass(frozen=True, slots=True)
class Region:
    """Adjoining filled rows. `first_row` and `first_column` count from 1, as the sheet does."""

    first_row: int
    first_column: int
    rows: tuple[tuple[str, ...], ...]

    @property
    def cell_range(self) -> str:
        last_row = self.first_row + len(self.rows) - 1
        last_column = self.first_column + len(self.rows[0]) - 1
        return f"{column_letters(self.first_column)}{self.first_row}:{column_letters(last_column)}{last_row}"


def parse(data: bytes, name: str) -> ParsedDocument:
    import openpyxl

    workbook = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    outline = Outline()
    for sheet in workbook.worksheets:
        _add_sheet(outline, sheet.title, _cells(sheet))
    return outline.finish(MEDIA_TYPE, name, title=workbook.properties.title or prettify(name))


def _cells(sheet: Any) -> Iterator[Sequence[str]]:
    # The declared dimensions are often wrong, and a hostile file declares 16,384 columns of a million rows.
    sheet.reset_dimensions()
    for row in sheet.iter_rows():
        yield [cell_text(cell.value, getattr(cell, "number_format", "")) for cell in row]


def _add_sheet(outline: Outline, title: str, rows: Iterator[Sequence[str]]) -> None:
    """Lone cells above a table are its caption; a region without a header of its own continues the one before."""
    header: tuple[str, ...] = ()
    for region in regions(rows):
        outline.place(f"{title}!{region.cell_range}")
        outline.heading(1, title)
        caption = list(itertools.takewhile(lambda row: sum(map(bool, row)) == 1, region.rows))
        table = region.rows[len(caption) :]
        if len(table) < 2:
            outline.paragraph("\n".join(" | ".join(filter(None, row)) for row in region.rows))
            continue
        outline.heading(2, " ".join(cell for row in caption for cell in row if cell))
        is_continued = not has_header(table) and len(header) == len(table[0])
        outline.table([header, *table] if is_continued else table)
        header = header if is_continued else table[0]


def regions(rows: Iterator[Sequence[str]]) -> Iterator[Region]:
    """Split at empty rows."""
    pending: list[Sequence[str]] = []
    number = 0
    for number, row in enumerate(rows, 1):
        if any(row):
            pending.append(row)
        elif pending:
            yield _region(number - len(pending), pending)
            pending = []
    if pending:
        yield _region(number + 1 - len(pending), pending)


def _region(first_row: int, rows: Sequence[Sequence[str]]) -> Region:
    filled = [index for row in rows for index, cell in enumerate(row) if cell]
    first, last = min(filled), max(filled)
    cut = tuple(tuple((*row, *[""] * (last + 1 - len(row)))[first : last + 1]) for row in rows)
    return Region(first_row, first + 1, cut)


def column_letters(number: int) -> str:
    """1 is A, 27 is AA."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def cell_text(value: object, number_format: str = "") -> str:
    """As a reader sees it, as far as that changes the meaning: percentages and dates."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float() | int() if "%" in number_format:
            return f"{value * 100:.10g}%"
        case float():
            return f"{value:.12g}"
        case datetime.datetime() if value.time() == datetime.time():
            return value.date().isoformat()
        case datetime.datetime():
            return value.isoformat(sep=" ", timespec="minutes")
        case _:
            return one_line(str(value))
