"""Markdown, also with YAML front matter and with ERB or Liquid tags of site generators in it."""

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ingest.documents import ParsedDocument
from ingest.parse.decode import decode
from ingest.parse.html import add_html
from ingest.parse.outline import Outline, one_line

if TYPE_CHECKING:
    from markdown_it.tree import SyntaxTreeNode

FRONT_MATTER = re.compile(
    r"\A\ufeff?(---|\+\+\+)[ \t]*\n(.*?)\n?(?:^\1|^\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
HEAD_LINE = re.compile(r"[ \t#}\])]|-(?!--)|[\w.\-\"']+[ \t]*[:=]|\Z")
"""What each line of a front matter begins like; a rule at the top of a text is followed by other things."""

HEAD_KEY = r"^{key}[ \t]*[:=][ \t]*(.*(?:\n[ \t]*-[ \t].*)*)"
ISO_DATE = re.compile(r"(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])")
TITLE_TAG = re.compile(r"<%=\s*current_page\.data\.title\s*%>|\{\{\s*(?:page\.)?title\s*\}\}")
TEMPLATE_TAG = re.compile(r"<%.*?%>|\{%.*?%\}", re.DOTALL)
FENCED = re.compile(r"^( {0,3})(```+|~~~+)[^\n]*\n.*?(?:^ {0,3}\2[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """`date` in ISO 8601, "" where the file has none or writes it otherwise."""

    title: str
    body: str
    tags: tuple[str, ...] = ()
    date: str = ""


def parse(data: bytes, name: str) -> ParsedDocument:
    from markdown_it import MarkdownIt
    from markdown_it.tree import SyntaxTreeNode

    front = split_front_matter(decode(data).replace("\r\n", "\n").replace("\x00", ""))
    body = strip_template_tags(front.body, front.title)
    tree = SyntaxTreeNode(MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body))
    outline = Outline()
    for node in tree.children:
        _add(outline, node)
    return replace(outline.finish("text/markdown", name, title=front.title), tags=front.tags, date=front.date)


def split_front_matter(text: str) -> FrontMatter:
    """`title`, `tags` (or `keywords`, `categories`) and `date` of a YAML or TOML head, and what follows the head."""
    match = FRONT_MATTER.match(text)
    if not match or not all(HEAD_LINE.match(line) for line in match[2].split("\n")):
        return FrontMatter("", text)
    head, body = match[2], text[match.end() :]
    tags = next((tags for key in ("tags", "keywords", "categories") if (tags := _listed(_value(head, key)))), ())
    date = ISO_DATE.match(_value(head, "date").strip("\"'"))
    return FrontMatter(_value(head, "title").strip("\"'"), body, tags, date[0] if date else "")


def _value(head: str, key: str) -> str:
    found = re.search(HEAD_KEY.format(key=key), head, re.MULTILINE | re.IGNORECASE)
    return found[1].strip() if found else ""


def _listed(value: str) -> tuple[str, ...]:
    """[a, "b"], "a, b" and a list with a dash before each."""
    parts = (
        re.split(r"\n[ \t]*-[ \t]", f"\n{value}")
        if value.startswith("-") or "\n" in value
        else value.strip("[]").split(",")
    )
    return tuple(tag for part in parts if (tag := one_line(part.strip().strip("\"'"))))


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
