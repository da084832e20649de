"""DOCX: headings by style or outline level, paragraphs, lists and tables in document order.

Kept: text boxes, hyperlink labels, inserted text. Lost: headers and footers, footnotes, comments, deleted text, images.
"""

import io
from typing import TYPE_CHECKING, Any

from ingest.documents import ParsedDocument
from ingest.parse.outline import Outline, one_line

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
CONTAINERS = frozenset([W + name for name in ("sdt", "sdtContent", "ins", "smartTag", "customXml", "body")])


def parse(data: bytes, name: str) -> ParsedDocument:
    import docx

    document = docx.Document(io.BytesIO(data))
    levels = {style.style_id: _style_level(style) for style in document.styles}
    outline = Outline()
    _add_children(outline, document.element.body, levels)
    property_title = document.core_properties.title or ""
    return outline.finish(
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document", name, property_title=property_title
    )


def _style_level(style: Any) -> int | None:
    """0 for the title, 1 to 9 for headings, None for others. Built-in style names are English in every language."""
    name = (style.name or "").lower()
    if name == "title":
        return 0
    if name.startswith("heading ") and name[8:].isdigit():
        return int(name[8:])
    found = style.element.find(f"{W}pPr/{W}outlineLvl")
    level = int(found.get(W + "val", "9")) if found is not None else 9
    return level + 1 if level < 9 else None


def _add_children(outline: Outline, parent: "Element", levels: dict[str, int | None]) -> None:
    items: list[str] = []
    for child in parent:
        if child.tag == W + "p" and _level(child, levels) is None and _is_item(child):
            items += [f"- {text}" for text in [one_line(_text(child))] if text]
            continue
        outline.paragraph("\n".join(items))
        items = []
        _add(outline, child, levels)
    outline.paragraph("\n".join(items))


def _add(outline: Outline, child: "Element", levels: dict[str, int | None]) -> None:
    if child.tag == W + "p":
        level = _level(child, levels)
        if level is None:
            outline.paragraph(_text(child))
        else:
            outline.heading(level, _text(child))
    elif child.tag == W + "tbl":
        outline.table(_rows(child))
    elif child.tag in CONTAINERS:
        _add_children(outline, child, levels)


def _is_item(paragraph: "Element") -> bool:
    """Numbered directly, or through one of the built-in list styles, whose ids all begin alike."""
    style = paragraph.find(f"{W}pPr/{W}pStyle")
    is_list_style = style is not None and style.get(W + "val", "").startswith("List")
    return is_list_style or paragraph.find(f"{W}pPr/{W}numPr") is not None


def _level(paragraph: "Element", levels: dict[str, int | None]) -> int | None:
    style = paragraph.find(f"{W}pPr/{W}pStyle")
    return levels.get(style.get(W + "val", "")) if style is not None else None


def _rows(table: "Element") -> list[list[str]]:
    rows = []
    for row in table.iterfind(f"{W}tr"):
        cells = [cell for cell in row.iter(W + "tc") if next(cell.iterancestors(W + "tbl"), None) is table]
        rows.append(["\n".join(_text(paragraph) for paragraph in cell.iter(W + "p")) for cell in cells])
    return rows


def _text(paragraph: "Element") -> str:
    """All runs of a paragraph, its text boxes included once (they are stored twice, for old programs as well)."""
    parts: list[str] = []
    for node in paragraph.iter(W + "t", W + "tab", W + "br", W + "cr", W + "noBreakHyphen"):
        if next(node.iterancestors(FALLBACK), None) is not None:
            continue
        parts.append(_piece(node))
    return "".join(parts)


def _piece(node: "Element") -> str:
    match node.tag.removeprefix(W):
        case "t":
            return node.text or ""
        case "tab":
            return "\t" if node.getparent().tag == W + "r" else ""
        case "noBreakHyphen":
            return "-"
        case _:
            return "\n"
