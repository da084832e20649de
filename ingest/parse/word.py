"""DOCX: headings by style or outline level, paragraphs, lists and tables in document order.

Kept: text boxes, hyperlink labels, inserted text, formulas in one line (without fraction bars), footnotes and endnotes
in place of their marks.
Lost: headers and footers, comments, deleted text, images, the numbers of numbered lists.
"""

import io
from typing import TYPE_CHECKING, Any

from ingest.documents import ParsedDocument
from ingest.parse.outline import Outline, one_line
from ingest.parse.table import MAX_SPAN, Cell, Grid, spread

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
CONTAINERS = frozenset([W + name for name in ("sdt", "sdtContent", "ins", "smartTag", "customXml", "body")])


def parse(data: bytes, name: str) -> ParsedDocument:
    import docx

    document = docx.Document(io.BytesIO(data))
    levels = {style.style_id: _style_level(style) for style in document.styles}
    _write_notes_out(document)
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
        grid = _grid(child)
        outline.table(grid.rows, grid.num_header_rows)
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


def _grid(table: "Element") -> Grid:
    """Its own rows, those in content controls too, without those of tables in its cells."""
    rows = [row for row in table.iter(W + "tr") if next(row.iterancestors(W + "tbl"), None) is table]
    above: dict[int, str] = {}
    cells = [_cells(row, table, above) for row in rows]
    marked = [row.find(f"{W}trPr/{W}tblHeader") is not None for row in rows]
    num_header_rows = marked.index(False) if False in marked else 0
    return spread(cells, num_header_rows or None)


def _cells(row: "Element", table: "Element", above: dict[int, str]) -> list[Cell]:
    """`above` is what the last row said by column; a cell that is merged with it says the same."""
    cells: list[Cell] = []
    column = 0
    for cell in row.iter(W + "tc"):
        if next(cell.iterancestors(W + "tbl"), None) is not table:
            continue
        merge = cell.find(f"{W}tcPr/{W}vMerge")
        is_continued = merge is not None and merge.get(W + "val") != "restart"
        text = above.get(column, "") if is_continued else "\n".join(map(_text, cell.iter(W + "p")))
        span = _span(cell)
        above[column] = text
        cells.append(Cell(text, span))
        column += span
    return cells


def _span(cell: "Element") -> int:
    found = cell.find(f"{W}tcPr/{W}gridSpan")
    value = found.get(W + "val", "1") if found is not None else "1"
    return min(int(value), MAX_SPAN) if value.isdigit() and int(value) else 1


def _write_notes_out(document: Any) -> None:
    """Put the text of footnotes and endnotes, in brackets, in place of the references to them."""
    for kind in ("footnote", "endnote"):
        notes = _notes(document, kind)
        for reference in document.element.body.iter(f"{W}{kind}Reference") if notes else []:
            note = notes.get(reference.get(W + "id", ""), "")
            if note:
                reference.tag = W + "t"
                reference.text = f" [{note}]"


def _notes(document: Any, kind: str) -> dict[str, str]:
    from docx.oxml import parse_xml

    for relation in document.part.rels.values():
        if relation.reltype.endswith(f"/{kind}s") and not relation.is_external:
            root = parse_xml(relation.target_part.blob)
            notes = root.iterfind(W + kind)
            return {note.get(W + "id", ""): one_line(" ".join(map(_text, note.iter(W + "p")))) for note in notes}
    return {}


def _text(paragraph: "Element") -> str:
    """All runs of a paragraph, its text boxes included once (they are stored twice, for old programs as well)."""
    parts: list[str] = []
    for node in paragraph.iter(W + "t", W + "tab", W + "br", W + "cr", W + "noBreakHyphen", MATH_TEXT):
        if next(node.iterancestors(FALLBACK), None) is not None:
            continue
        parts.append(_piece(node))
    return "".join(parts)


def _piece(node: "Element") -> str:
    match node.tag.removeprefix(W).removeprefix(MATH_TEXT):
        case "t" | "":
            return node.text or ""
        case "tab":
            return "\t" if node.getparent().tag == W + "r" else ""
        case "noBreakHyphen":
            return "-"
        case _:
            return "\n"
