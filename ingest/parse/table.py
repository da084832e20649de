"""Tables with merged cells and headers of several rows to lines that name their columns. Pure.

A merged cell counts in each row that it covers, and in each column too, unless it is alone in its row: then it is a
caption. The grid is built as HTML does it: https://html.spec.whatwg.org/multipage/tables.html#forming-a-table
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_SPAN = 100
"""Columns or rows that one cell may cover; a hostile file claims a billion."""

YEAR = re.compile(r"(?:19|20)\d\d")


@dataclass(frozen=True, slots=True)
class Cell:
    """As the file has it: `columns` and `rows` say how much of the grid it covers."""

    text: str
    columns: int = 1
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Grid:
    """num_header_rows: as the file marks them, or as merged cells in the first row suggest; None where neither does."""

    rows: list[list[str]]
    num_header_rows: int | None


def spread(table: Sequence[Sequence[Cell]], num_header_rows: int | None = None) -> Grid:
    """Cells on a grid. `num_header_rows`: what the file itself says, None if it says nothing."""
    rows: list[list[str]] = []
    pending: dict[int, tuple[str, int]] = {}
    for cells in table:
        rows.append(_spread_row(cells, pending))
    if num_header_rows is None and table and is_wide_header(rows, any(cell.columns > 1 for cell in table[0])):
        num_header_rows = 2
    return Grid(rows, num_header_rows)


def _spread_row(cells: Sequence[Cell], pending: dict[int, tuple[str, int]]) -> list[str]:
    """`pending` holds, by column, the text of cells from above and how many rows more they cover."""
    row: list[str] = []
    is_lone = sum(1 for cell in cells if cell.text) == 1 and not pending

    def carry() -> None:
        while len(row) in pending:
            text, num_left = pending.pop(len(row))
            if num_left > 1:
                following[len(row)] = (text, num_left - 1)
            row.append(text)

    following: dict[int, tuple[str, int]] = {}
    for cell in cells:
        carry()
        for offset in range(min(cell.columns, MAX_SPAN)):
            if cell.rows > 1:
                following[len(row)] = (cell.text, min(cell.rows, MAX_SPAN) - 1)
            row.append("" if offset and is_lone else cell.text)
    carry()
    pending.clear()
    pending.update(following)
    return row


def table_lines(table: Iterable[Sequence[str]], num_header_rows: int | None = None) -> list[str]:
    """One line a row. With a usable header each row names its columns, so that any part can stand alone.

    `num_header_rows`: None to find out by the look of the first row.
    """
    rows = [row for row in table if any(row)]
    if num_header_rows is None:
        num_header_rows = 1 if has_header(rows) else 0
    if not 0 < num_header_rows < len(rows):
        return [" | ".join(cell for cell in row if cell) for row in rows]
    names = column_names(rows[:num_header_rows])
    return [_named(names, row) for row in rows[num_header_rows:]]


def is_wide_header(rows: Sequence[Sequence[str]], has_merged_columns: bool) -> bool:
    """Two rows name the columns together, as "2026" over "Q1" and "Q2" does."""
    return has_merged_columns and len(rows) > 2 and has_header([column_names(rows[:2]), *rows[2:]])


def column_names(header: Sequence[Sequence[str]]) -> list[str]:
    """What stands over each column, from the top down, equal words once."""
    width = max(map(len, header))
    columns = [[row[index] if index < len(row) else "" for row in header] for index in range(width)]
    return [" ".join(dict.fromkeys(filter(None, column))) for column in columns]


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """The first row names columns: at least two cells, all different, no values, most of the width filled."""
    if len(rows) < 2:
        return False
    names = [cell for cell in rows[0] if cell]
    width = max(sum(1 for cell in row if cell) for row in rows)
    is_wide = len(names) >= 2 and len(names) * 2 > width
    return is_wide and len(set(names)) == len(names) and all(_is_name(rows, cell) for cell in names)


def _is_name(rows: Sequence[Sequence[str]], name: str) -> bool:
    """No number, but for a year over other things than years; no label of its row and no sentence."""
    if name.endswith((":", ".")) and not name.endswith(("No.", "Nr.", "no.", "nr.")):
        return False
    if not YEAR.fullmatch(name):
        return not is_number(name)
    column = rows[0].index(name)
    below = [row[column] for row in rows[1:] if column < len(row) and row[column]]
    is_over_values = bool(below) and not all(YEAR.fullmatch(cell) for cell in below)
    return is_over_values and not is_number(rows[0][0])


def is_number(text: str) -> bool:
    return bool(re.fullmatch(r"[-+(]?[\d.,' ]*\d[\d.,' ]*[)%]?", text))


def _named(names: Sequence[str], row: Sequence[str]) -> str:
    filled = [*names, *[""] * (len(row) - len(names))]
    pairs = zip(filled, row, strict=False)
    return "; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell)
