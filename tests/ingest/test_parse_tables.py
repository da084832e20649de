"""Tables of every format: merged cells, headers of two rows, captions, number formats, charts."""

import datetime
import io
from collections.abc import Callable

import docx
import openpyxl
import pptx
import pytest
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from ingest.documents import ParsedDocument
from ingest.parse.dispatch import parse
from ingest.parse.numbers import cell_text
from ingest.parse.table import Cell, has_header, spread, table_lines

YEARS = ["Site: Bern; 2025 Q1: 4; 2025 Q2: 5", "Site: Chur; 2025 Q1: 6; 2025 Q2: 7"]
"""What a table with "2025" over "Q1" and "Q2" and with "Site" over two rows says."""


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()


def tables(document: ParsedDocument) -> list[str]:
    return [line for block in document.blocks if block.is_table for line in block.text.split("\n")]


def test_spread_cells_over_rows_and_columns() -> None:
    grid = spread(
        [[Cell("Site", rows=2), Cell("2025", columns=2)], [Cell("Q1"), Cell("Q2")], [Cell("Bern"), Cell("4")]]
    )
    assert grid.rows == [["Site", "2025", "2025"], ["Site", "Q1", "Q2"], ["Bern", "4"]]


def test_a_cell_that_claims_a_billion_columns_is_cut() -> None:
    assert len(spread([[Cell("a"), Cell("b", columns=10**9, rows=10**9)]]).rows[0]) == 101


def test_lone_wide_cell_is_said_once() -> None:
    assert spread([[Cell("Prices", columns=3)]]).rows == [["Prices", "", ""]]


@pytest.mark.parametrize(
    ("header", "is_one"),
    [
        (["Region", "2024", "2025"], True),
        (["2024", "2025", "2026"], False),
        (["Emirate:", "The Emirate of Dubai."], False),
        (["Name", "Part No."], True),
        (["Name", "12 EUR", "4"], False),
        (["Price", "Price"], False),
    ],
)
def test_header_by_its_look(header: list[str], is_one: bool) -> None:
    assert has_header([header, ["North", "12", "13"]]) is is_one


def test_empty_columns_and_columns_without_a_name() -> None:
    assert table_lines([["", "A", "", "B"], ["x", "1", "", "2"]]) == ["x; A: 1; B: 2"]


def test_html_rowspan_colspan_and_thead() -> None:
    source = (
        "<table><thead><tr><th rowspan=2>Site</th><th colspan=2>2025</th></tr><tr><th>Q1</th><th>Q2</th></tr></thead>"
        "<tr><td>Bern</td><td>4</td><td>5</td></tr><tr><td>Chur</td><td>6</td><td>7</td></tr></table>"
    )
    assert tables(parse(source.encode(), "a.html")) == YEARS


def test_html_cell_over_several_records_counts_in_each() -> None:
    source = (
        "<table><tr><th>Country</th><th>Rate</th></tr><tr><td rowspan=2>Norway</td><td>90</td></tr>"
        "<tr><td>95</td></tr></table>"
    )
    assert tables(parse(source.encode(), "a.html")) == ["Country: Norway; Rate: 90", "Country: Norway; Rate: 95"]


def test_xlsx_merged_cells_and_a_header_of_two_rows() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Sites"
    for row in (["Shipments", None, None], ["Site", 2025, None], [None, "Q1", "Q2"], ["Bern", 4, 5], ["Chur", 6, 7]):
        sheet.append(row)
    for cells in ("A1:C1", "A2:A3", "B2:C2"):
        sheet.merge_cells(cells)
    document = parse(saved(book.save), "shipments-2025.xlsx")
    assert tables(document) == YEARS
    assert (document.blocks[0].heading_path, document.blocks[0].location) == (("Sites", "Shipments"), "Sites!A1:C5")


def test_xlsx_label_merged_over_its_records_counts_in_each() -> None:
    book = openpyxl.Workbook()
    for row in (["Zone", "City"], ["North", "Bern"], [None, "Biel"], ["South", "Chur"]):
        book.active.append(row)
    book.active.merge_cells("A2:A3")
    assert tables(parse(saved(book.save), "zones.xlsx")) == [
        "Zone: North; City: Bern",
        "Zone: North; City: Biel",
        "Zone: South; City: Chur",
    ]


@pytest.mark.parametrize(
    ("value", "number_format", "text"),
    [
        (0.075, "0.0%", "7.5%"),
        (12.5, '#,##0.00 "€"', "12.50 €"),
        (12.5, "[$CHF-807] #,##0.00", "CHF 12.50"),
        (1234.5, '_("$"* #,##0.00_)', "$1234.50"),
        (3, "[$-409]0.0", "3"),
        (1234, "00000", "01234"),
        (0.1 + 0.2, "General", "0.3"),
        (True, "General", "yes"),
        (datetime.datetime(2026, 3, 1), "dd.mm.yy", "2026-03-01"),
        (datetime.datetime(2026, 3, 1, 8, 30), "", "2026-03-01 08:30"),
        (datetime.time(8, 30), "hh:mm", "08:30"),
        (None, "0%", ""),
    ],
)
def test_number_formats(value: object, number_format: str, text: str) -> None:
    assert cell_text(value, number_format) == text


def test_docx_merged_cells_and_a_header_of_two_rows() -> None:
    file = docx.Document()
    table = file.add_table(rows=4, cols=3)
    content = (("Site", "2025", ""), ("", "Q1", "Q2"), ("Bern", "4", "5"), ("Chur", "6", "7"))
    for row, cells in zip(table.rows, content, strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    table.cell(0, 1).merge(table.cell(0, 2))
    table.cell(0, 0).merge(table.cell(1, 0))
    assert tables(parse(saved(file.save), "sites.docx")) == YEARS


def test_pptx_merged_cells_and_charts() -> None:
    file = pptx.Presentation()
    slide = file.slides.add_slide(file.slide_layouts[6])
    table = slide.shapes.add_table(3, 2, 0, 0, Inches(4), Inches(2)).table
    for row, cells in enumerate((("Zone", "City"), ("North", "Bern"), ("", "Biel"))):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    table.cell(1, 0).merge(table.cell(2, 0))
    data = CategoryChartData()
    data.categories = ["2024", "2025"]
    data.add_series("Sales", (3.5, 4))
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, Inches(4), Inches(3), data)
    assert tables(parse(saved(file.save), "zones.pptx")) == [
        "Zone: North; City: Bern",
        "Zone: North; City: Biel",
        "2024; Sales: 3.5",
        "2025; Sales: 4",
    ]


def test_delimited_captions_and_the_separator_that_excel_writes() -> None:
    document = parse(b"sep=;\nPrice list\nArticle;Price\nPod;31\n", "prices.csv")
    assert [block.text for block in document.blocks] == ["Price list", "Article: Pod; Price: 31"]
    assert document.title == "Prices"
