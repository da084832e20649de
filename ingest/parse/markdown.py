"""Markdown, also with YAML front matter and with ERB or Liquid tags of site generators in it."""

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ingest.access.statements import Statement, read_access
from ingest.documents import ParsedDocument
from ingest.parse.decode import decode
from ingest.parse.front_matter import read_list, read_text, split_head
from ingest.parse.html import add_html
from ingest.parse.outline import Outline, one_line

if TYPE_CHECKING:
    from markdown_it.tree import SyntaxTreeNode

TAG_KEYS = ("tags", "keywords", "categories")
ISO_DATE = re.compile(r"(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])")
TITLE_TAG = re.compile(r"<%=\s*current_page\.data\.title\s*%>|\{\{\s*(?:page\.)?title\s*\}\}")
TEMPLATE_TAG = re.compile(r"<%.*?%>|\{%.*?%\}", re.DOTALL)
FENCED = re.compile(r"^( {0,3})(```+|~~~+)[^\n]*\n.*?(?:^ {0,3}\2[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """What the head says, and the body below it. `date` in ISO 8601, "" where it is missing or written otherwise."""

    title: str
    body: str
    tags: tuple[str, ...] = ()
    date: str = ""
    supersedes: tuple[str, ...] = ()
    access: Statement | None = None


def parse(data: bytes, name: str) -> ParsedDocument:
    from markdown_it import MarkdownIt
    from markdown_it.tree import SyntaxTreeNode

    front = read_front_matter(decode(data).replace("\r\n", "\n").replace("\r", "\n").replace("\x00", ""))
    body = strip_template_tags(front.body, front.title)
    tree = SyntaxTreeNode(MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body))
    outline = Outline()
    for node in tree.children:
        _add(outline, node)
    document = outline.finish("text/markdown", name, title=front.title)
    return replace(document, tags=front.tags, date=front.date, supersedes=front.supersedes, access=front.access)


def read_front_matter(text: str) -> FrontMatter:
    """`title`, `tags` (or `keywords`, `categories`), `date`, `supersedes` and `access`; no other key is read.

    A head that is not closed is text, but what it says about readers is not passed over.
    """
    head = split_head(text)
    if head is None:
        return FrontMatter("", text)
    access = read_access(head)
    if not head.is_closed:
        return FrontMatter("", text, access=access)
    tags = next((tags for key in TAG_KEYS if (tags := read_list(head, key))), ())
    date = ISO_DATE.match(read_text(head, "date"))
    return FrontMatter(
        read_text(head, "title"), head.body, tags, date[0] if date else "", read_list(head, "supersedes"), access
    )


def strip_template_tags(text: str, title: str) -> str:
    """Without ERB and Liquid tags, except in fenced code, where they are the subject."""
    parts: list[str] = []
    start = 0
    for fence in FENCED.finditer(text):
        parts += [_strip(text[start : fence.start()], title), fence[0]]
        start = fence.end()
    return "".join([*parts, _strip(text[start:], title)])


def _strip(text: str, title: str) -> str:
    # A tag as a link's target would leave "[label]()", which is a link still.
    return TEMPLATE_TAG.sub("", TITLE_TAG.sub(lambda _: title, text))


def _add(outline: Outline, node: "SyntaxTreeNode") -> None:
    match node.type:
        case "heading":
            outline.heading(int(node.tag[1:]), inline_text(node))
        case "bullet_list" | "ordered_list":
            outline.paragraph("\n".join(_list_lines(node, 0)))
        case "table":
            outline.table([[inline_text(cell) for cell in row.children] for row in _rows(node)])
        case "fence" | "code_block":
            outline.paragraph(node.content)
        case "html_block":
            add_html(outline, node.content)
        case "blockquote":
            for child in node.children:
                _add(outline, child)
        case _:
            outline.paragraph(inline_text(node))


def _rows(table: "SyntaxTreeNode") -> list["SyntaxTreeNode"]:
    return [row for part in table.children for row in part.children]


def _list_lines(node: "SyntaxTreeNode", depth: int) -> list[str]:
    lines: list[str] = []
    first = int(node.attrs.get("start", 1))
    for number, item in enumerate(node.children, first):
        marker = f"{number}. " if node.type == "ordered_list" else "- "
        lines += _item_lines(item, "  " * depth + marker, depth)
    return lines


def _item_lines(item: "SyntaxTreeNode", marker: str, depth: int) -> list[str]:
    """The item's first line carries the marker; further paragraphs and nested lists follow it, indented."""
    lines: list[str] = []
    for child in item.children:
        if child.type in ("bullet_list", "ordered_list"):
            lines += _list_lines(child, depth + 1)
            continue
        text = child.content if child.type in ("fence", "code_block", "html_block") else inline_text(child)
        prefix = marker if not lines else "  " * (depth + 1)
        lines += [prefix + part for part in text.strip("\n").split("\n") if part.strip()]
    return lines


def inline_text(node: "SyntaxTreeNode") -> str:
    """What a reader sees: link labels without targets, image descriptions, no tags."""
    match node.type:
        case "text" | "code_inline" | "fence" | "code_block":
            return node.content
        case "softbreak":
            return " "
        case "hardbreak":
            return "\n"
        case "html_inline":
            return "\n" if re.match(r"<br\b", node.content, re.IGNORECASE) else ""
        case "image":
            return one_line(str(node.attrs.get("alt", "")) or node.content)
        case "html_block":
            return re.sub(r"<[^>]*>", " ", node.content)
        case _:
            separator = "\n" if node.type in ("blockquote", "list_item", "tbody", "thead") else ""
            return separator.join(inline_text(child) for child in node.children)
