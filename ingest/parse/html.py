"""HTML: the readable part of a page as headings, paragraphs, lists and tables."""

import re
from typing import TYPE_CHECKING, Any

from ingest.documents import ParsedDocument
from ingest.parse.decode import decode_markup
from ingest.parse.outline import Outline, one_line
from ingest.parse.table import MAX_SPAN, Cell, Grid, spread

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

SKIPPED = re.compile(
    "script|style|noscript|template|svg|math|head|iframe|object|embed|select|option|button|nav|canvas|audio|video|map"
    "|footer"
)
BLOCKS = re.compile(
    "address|article|aside|blockquote|body|center|dd|details|dialog|div|dl|dt|fieldset|figcaption|figure|form|h[1-6]"
    "|header|hgroup|hr|html|legend|li|main|ol|p|pre|section|summary|table|tbody|td|th|tr|ul"
)
HEADING = re.compile(r"h[1-6]")
ASIDE_ROLES = frozenset(["navigation", "banner", "contentinfo", "search", "menu", "menubar", "toolbar", "tablist"])
ASIDE_CLASSES = re.compile(
    r"(?:^|[\s_-])(?:navbar|navbox|nav-?menu|breadcrumbs?|pagination|cookie-?(?:banner|consent|notice|bar)"
    r"|skip-?(?:link|nav|to-content)|no-?print|dropdown-?menu|vector-dropdown|sr-only|visually-?hidden|editsection)"
    r"(?:$|[\s_-])",
    re.IGNORECASE,
)
"""Parts of a page that stand on every page of a site, by names that sites and site generators give them."""

HIDDEN_STYLE = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
ERB_TAG = re.compile(r"<%.*?%>", re.DOTALL)


def parse(data: bytes, name: str) -> ParsedDocument:
    outline = Outline()
    root = _root(ERB_TAG.sub("", decode_markup(data)))
    title = ""
    if root is not None:
        found = root.find(".//title")
        title = one_line(found.text or "") if found is not None else ""
        _walk(outline, _readable_part(root))
    return outline.finish("text/html", name, property_title=title)


def add_html(outline: Outline, text: str) -> None:
    """A fragment inside another document."""
    root = _root(text)
    if root is not None:
        _walk(outline, root)


def _root(text: str) -> "Element | None":
    from lxml import etree, html

    text = DECLARATION.sub("", text.replace("\x00", ""))
    if not text.strip():
        return None
    try:
        return html.document_fromstring(text)
    except (etree.ParserError, etree.XMLSyntaxError):
        return None


def _readable_part(root: "Element") -> "Element":
    """<main> or a lone <article> where the page marks one; navigation around it is the same on every page."""
    for query in (".//main", ".//*[@role='main']", ".//article"):
        found = root.findall(query)
        if len(found) == 1 and len(one_line("".join(found[0].itertext()))) > 200:
            return found[0]
    return root


def _walk(outline: Outline, element: "Element") -> None:
    """Depth first; text between block elements is a paragraph. The parser itself bounds the depth (256 levels)."""
    pending: list[str] = []

    def flush() -> None:
        outline.paragraph(one_line("".join(pending)))
        pending.clear()

    def visit(node: "Element") -> None:
        tag = _tag(node)
        if _is_skipped(node):
            return
        is_block = BLOCKS.fullmatch(tag) is not None
        if is_block:
            flush()
        if not _add_whole(outline, node, tag):
            pending.append(" " if tag == "br" else node.text or "")
            for child in node:
                visit(child)
                pending.append(child.tail or "")
        if is_block:
            flush()

    visit(element)
    flush()


def _add_whole(outline: Outline, node: "Element", tag: str) -> bool:
    """Elements that are one block each. False for all others."""
    if HEADING.fullmatch(tag):
        outline.heading(int(tag[1]), visible_text(node))
    elif tag in ("ul", "ol"):
        outline.paragraph("\n".join(_list_lines(node, 0)))
    elif tag == "table":
        if any(node.find(f".//{inner}") is not None for inner in ("table", "h1", "h2", "h3")):
            # A table for the layout of a page, whose cells are read one after the other.
            return False
        outline.paragraph("".join(visible_text(caption) for caption in node.iter("caption")))
        grid = _grid(node)
        outline.table(grid.rows, grid.num_header_rows)
    elif tag == "pre":
        outline.paragraph("".join(node.itertext()))
    else:
        return False
    return True


def _grid(table: "Element") -> Grid:
    """The header is what stands in <thead>, or the first rows that have <th> alone."""
    rows: list[list[Cell]] = []
    num_header_rows = 0
    for row in table.iter("tr"):
        cells = [cell for cell in row if _tag(cell) in ("td", "th")]
        if not cells:
            continue
        is_header = _tag(row.getparent()) == "thead" or (len(cells) > 1 and all(_tag(cell) == "th" for cell in cells))
        num_header_rows += is_header and num_header_rows == len(rows)
        rows.append([Cell(visible_text(cell), _span(cell, "colspan"), _span(cell, "rowspan")) for cell in cells])
    return spread(rows, num_header_rows or None)


def _span(cell: "Element", name: str) -> int:
    found = re.match(r"\s*([1-9]\d{0,5})", cell.get(name, ""))
    return min(int(found[1]), MAX_SPAN) if found else 1


def _is_skipped(node: "Element") -> bool:
    """What is no text, what is not shown, and what stands around the text on every page."""
    tag = _tag(node)
    if not tag or SKIPPED.fullmatch(tag):
        return True
    if tag in ("html", "body", "main", "article") or HEADING.fullmatch(tag):
        return False
    if tag == "header" and next(node.iterancestors("main", "article", "section"), None) is None:
        return node.find(".//h1") is None
    # A tab that is not in front is hidden, too, and still text.
    is_hidden = ("hidden" in node.attrib and node.get("role") != "tabpanel") or bool(
        HIDDEN_STYLE.search(node.get("style", ""))
    )
    return is_hidden or node.get("role") in ASIDE_ROLES or bool(ASIDE_CLASSES.search(node.get("class", "")))


def _list_lines(node: "Element", depth: int) -> list[str]:
    lines: list[str] = []
    items = (child for child in node if _tag(child) == "li" and not _is_skipped(child))
    for number, item in enumerate(items, 1):
        marker = f"{number}. " if node.tag == "ol" else "- "
        text = one_line(visible_text(item, skip=frozenset(["ul", "ol"])))
        lines += ["  " * depth + marker + text] if text else []
        for child in item.iter("ul", "ol"):
            if next(child.iterancestors("li"), None) is item:
                lines += _list_lines(child, depth + 1)
    return lines


def visible_text(node: "Element", skip: frozenset[str] = frozenset()) -> str:
    parts = [node.text or ""]
    for child in node:
        tag = _tag(child)
        if tag not in skip and not _is_skipped(child):
            gap = " " if BLOCKS.fullmatch(tag) or tag == "br" else ""
            parts += [gap, visible_text(child, skip), gap]
        parts.append(child.tail or "")
    return "".join(parts)


def _tag(node: "Element") -> str:
    return node.tag if isinstance(node.tag, str) else ""
