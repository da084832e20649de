"""PPTX: one location a slide, its title as heading, then text, tables, the numbers of charts and the speaker's notes.

Lost: pictures, SmartArt, animation, comments.
"""

import io
from collections.abc import Iterator
from typing import Any

from ingest.documents import ParsedDocument
from ingest.parse.outline import Outline
from ingest.parse.table import Cell, spread


def parse(data: bytes, name: str) -> ParsedDocument:
    import pptx

    presentation = pptx.Presentation(io.BytesIO(data))
    outline = Outline()
    for number, slide in enumerate(presentation.slides, 1):
        outline.place(f"slide {number}")
        _add_slide(outline, slide, number)
    return outline.finish(
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        name,
        title=_first_title(presentation) or _property_title(presentation.core_properties.title),
    )


def _property_title(title: str | None) -> str:
    """PowerPoint writes its template's name into every new file."""
    return "" if (title or "").strip().lower() in ("powerpoint presentation", "presentation") else title or ""


def _first_title(presentation: Any) -> str:
    titles = [slide.shapes.title.text_frame.text for slide in presentation.slides if slide.shapes.title is not None]
    return titles[0] if titles else ""


def _add_slide(outline: Outline, slide: Any, number: int) -> None:
    title = slide.shapes.title
    outline.heading(1, title.text_frame.text if title is not None else "")
    for shape in _flat(slide.shapes):
        if title is not None and shape.shape_id == title.shape_id:
            continue
        _add_shape(outline, shape)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = slide.notes_slide.notes_text_frame.text.strip()
        outline.place(f"slide {number}, notes" if notes else outline.location)
        outline.paragraph(f"Notes: {notes}" if notes else "")


def _add_shape(outline: Outline, shape: Any) -> None:
    if shape.has_text_frame:
        outline.paragraph("\n".join(_paragraphs(shape.text_frame)))
    elif getattr(shape, "has_table", False):
        grid = spread([_cells(row) for row in shape.table.rows], 1 if shape.table.first_row else None)
        outline.table(grid.rows, grid.num_header_rows)
    elif getattr(shape, "has_chart", False):
        _add_chart(outline, shape)


def _cells(row: Any) -> list[Cell]:
    cells = [cell for cell in row.cells if not cell.is_spanned]
    return [Cell(cell.text, cell.span_width, cell.span_height) for cell in cells]


def _add_chart(outline: Outline, shape: Any) -> None:
    """A row for each category, a column for each series. A chart of a kind that python-pptx cannot read is left out."""
    try:
        chart = shape.chart
        title = chart.chart_title.text_frame.text if chart.has_title and chart.chart_title.has_text_frame else ""
        tables = [_chart_rows(plot) for plot in chart.plots]
    except (KeyError, ValueError, AttributeError, TypeError, NotImplementedError):
        return
    outline.paragraph(title)
    for table in tables:
        outline.table(table, num_header_rows=1)


def _chart_rows(plot: Any) -> list[list[str]]:
    categories = [str(category) for category in plot.categories]
    series = [(str(one.name or ""), list(one.values)) for one in plot.series]
    rows = [[category, *(_value(values, index) for _, values in series)] for index, category in enumerate(categories)]
    return [["", *(name for name, _ in series)], *rows] if rows else []


def _value(values: list[float | None], index: int) -> str:
    value = values[index] if index < len(values) else None
    return "" if value is None else f"{value:.12g}"


def _flat(shapes: Any) -> Iterator[Any]:
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _flat(shape.shapes)
        else:
            yield shape


def _paragraphs(frame: Any) -> list[str]:
    """Lines of a text frame; nested ones are indented as lists."""
    texts = [(paragraph.level, paragraph.text.strip()) for paragraph in frame.paragraphs]
    filled = [(level, text) for level, text in texts if text]
    if len(filled) < 2:
        return [text for _, text in filled]
    return ["  " * level + "- " + text for level, text in filled]
