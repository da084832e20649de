"""XLSX: each region of a sheet is a table that knows its cell range.

Formulas count with the value that was last saved. Lost: charts, comments, colours, hidden state, and formulas that no
program has computed yet.
"""

import io
import itertools
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ingest.documents import ParsedDocument
from ingest.parse.numbers import cell_text
from ingest.parse.outline import Outline, prettify
from ingest.parse.reasons import ParseError, Reason
from ingest.parse.table import MAX_SPAN, has_header, is_wide_header

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MAX_CELLS = 20_000_000
"""Cells that are looked at, empty ones included: a row with one cell in the last column counts 16,384."""

MAX_MERGES = 100_000
MAX_MERGED_ROWS = 1_000
MERGE = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="\$?([A-Z]{1,3})\$?(\d{1,7}):\$?([A-Z]{1,3})\$?(\d{1,7})"')
READ_BYTES = 1 << 20
LONGEST_MERGE = 200


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


@dataclass(frozen=True, slots=True)
class Row:
    """`is_covered`: by a merged cell from above, so that an empty row does not end its table."""

    texts: list[str]
    is_covered: bool


@dataclass(frozen=True, slots=True)
class Merge:
    """A merged cell; rows and columns count from 1, the last ones included."""

    first_row: int
    first_column: int
    last_row: int
    last_column: int


def parse(data: bytes, name: str) -> ParsedDocument:
    import openpyxl

    workbook = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    outline = Outline()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for sheet in workbook.worksheets:
            merges = find_merges(archive, sheet)
            wide_rows = frozenset(merge.first_row for merge in merges if merge.last_column > merge.first_column)
            _add_sheet(outline, sheet.title, unmerged(_cells(sheet), merges), wide_rows)
    return outline.finish(MEDIA_TYPE, name, title=workbook.properties.title or prettify(name))


def find_merges(archive: zipfile.ZipFile, sheet: Any) -> list[Merge]:
    """They stand behind the cells in the sheet's file, and openpyxl leaves them out when it streams."""
    merges: list[Merge] = []
    tail = b""
    with archive.open(sheet._worksheet_path) as file:
        while part := file.read(READ_BYTES):
            seen = tail + part
            end = 0
            for found in MERGE.finditer(seen):
                first, last = column_number(found[1].decode()), column_number(found[3].decode())
                merges.append(Merge(int(found[2]), first, int(found[4]), last))
                end = found.end()
            if len(merges) > MAX_MERGES:
                raise ParseError(Reason.TOO_LARGE, f"A sheet has more than {MAX_MERGES:,} merged cells.")
            tail = seen[max(end, len(seen) - LONGEST_MERGE) :]
    return merges


def _cells(sheet: Any) -> Iterator[list[str]]:
    # The declared dimensions are often wrong, and a hostile file declares 16,384 columns of a million rows.
    sheet.reset_dimensions()
    num_cells = 0
    for row in sheet.iter_rows():
        num_cells += len(row) + 1
        if num_cells > MAX_CELLS:
            raise ParseError(Reason.TOO_LARGE, f"A sheet has more than {MAX_CELLS:,} cells.")
        texts = [cell_text(cell.value, getattr(cell, "number_format", "")) for cell in row]
        while texts and not texts[-1]:
            texts.pop()
        yield texts


def unmerged(rows: Iterator[list[str]], merges: Sequence[Merge]) -> Iterator[Row]:
    """A merged cell counts in each filled row that it covers, and in each column, unless it is alone in its row."""
    starts: dict[int, list[Merge]] = {}
    for merge in merges:
        starts.setdefault(merge.first_row, []).append(merge)
    active: list[tuple[Merge, str]] = []
    for number, texts in enumerate(rows, 1):
        is_lone = sum(map(bool, texts)) == 1 and not active
        for merge in [] if is_lone else starts.get(number, []):
            text = texts[merge.first_column - 1] if merge.first_column <= len(texts) else ""
            active += [(merge, text)] if text else []
        active = [item for item in active if number <= min(item[0].last_row, item[0].first_row + MAX_MERGED_ROWS)]
        for merge, text in active if any(texts) else []:
            _fill(texts, merge, text)
        yield Row(texts, is_covered=bool(active))


def _fill(row: list[str], merge: Merge, text: str) -> None:
    last = min(merge.last_column, merge.first_column + MAX_SPAN - 1)
    row += [""] * (last - len(row))
    row[merge.first_column - 1 : last] = [text] * (last - merge.first_column + 1)


def _add_sheet(outline: Outline, title: str, rows: Iterator[Row], wide_rows: frozenset[int]) -> None:
    """Lone cells above a table are its caption; a region without a header of its own continues the one before.

    `wide_rows`: numbers of rows in which a merged cell of several columns begins.
    """
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
        if is_wide_header(table, region.first_row + len(caption) in wide_rows):
            outline.table(table, num_header_rows=2)
            header = ()
            continue
        is_continued = not has_header(table) and len(header) == len(table[0])
        outline.table([header, *table] if is_continued else table)
        header = header if is_continued else table[0]


def regions(rows: Iterator[Row]) -> Iterator[Region]:
    """Split at empty rows."""
    pending: list[Sequence[str]] = []
    number = 0
    for number, row in enumerate(rows, 1):
        if any(row.texts) or (pending and row.is_covered):
            pending.append(row.texts)
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


def column_number(letters: str) -> int:
    """A is 1, AA is 27."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number
