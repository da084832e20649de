"""PPTX: one location a slide, its title as heading, then text, tables and the speaker's notes.

Lost: pictures, charts, SmartArt, animation.
"""

import io
from collections.abc import Iterator
from typing import Any

from ingest.documents import ParsedDocument
from ingest.parse.outline import Outline


def parse(data: bytes, name: str) -> ParsedDocument:
    import pptx

    presentation = pptx.Presentation(io.BytesIO(data))
    outline = Outline()
    for number, slide in enumerate(presentation.slides, 1):
        outline.place(f"slide {number}")
        _add_slide(outline, slide)
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


def _add_slide(outline: Outline, slide: Any) -> None:
    title = slide.shapes.title
    outline.heading(1, title.text_frame.text if title is not None else "")
    for shape in _flat(slide.shapes):
        if title is not None and shape.shape_id == title.shape_id:
            continue
        if shape.has_text_frame:
            outline.paragraph("\n".join(_paragraphs(shape.text_frame)))
        elif getattr(shape, "has_table", False):
            outline.table([[cell.text for cell in row.cells] for row in shape.table.rows])
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = slide.notes_slide.notes_text_frame.text.strip()
        outline.paragraph(f"Notes: {notes}" if notes else "")


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
