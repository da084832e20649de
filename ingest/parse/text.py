"""Plain text: paragraphs between empty lines, underlined or numbered headings where a file has them."""

import re

from ingest.documents import ParsedDocument
from ingest.parse.decode import decode
from ingest.parse.outline import Outline, clean

UNDERLINE = re.compile(r"([=\-~^#*+])\1{2,}")
LEVELS = "=-~^#*+"
WRAPPED_CHARACTERS = 60
ITEM = re.compile(r"\s*(?:[-*•+o]|\d{1,3}[.)]|[a-z]\))\s+\S|.*(?:\t|\S {3,}\S)|\s{4,}|[\w .,/()-]{1,30}:\s")


def parse(data: bytes, name: str) -> ParsedDocument:
    outline = Outline()
    add_text(outline, decode(data))
    return outline.finish("text/plain", name)


def add_text(outline: Outline, text: str) -> None:
    for paragraph in re.split(r"\n\s*\n", clean(text)):
        _add_paragraph(outline, paragraph.split("\n"))


def _add_paragraph(outline: Outline, lines: list[str]) -> None:
    """A heading is underlined, as in reStructuredText and old README files, or stands in capitals above its text."""
    start = 0
    for index in range(len(lines)):
        level = _heading_level(lines, index)
        if level:
            outline.paragraph(unwrap(_without_rules(lines[start:index])))
            outline.heading(level, lines[index])
            start = index + 1
    outline.paragraph(unwrap(_without_rules(lines[start:])))


def _heading_level(lines: list[str], index: int) -> int:
    """0 for a line that is no heading."""
    title = lines[index].strip()
    rule = lines[index + 1].strip() if index + 1 < len(lines) else ""
    if not title or UNDERLINE.fullmatch(title):
        return 0
    if UNDERLINE.fullmatch(rule) and len(rule) >= len(title) * 0.6:
        return LEVELS.index(rule[0]) + 1
    is_capitals = index == 0 and 3 <= len(title) <= 80 and re.sub(r"\(.*?\)", "", title).isupper()
    return len(LEVELS) + 1 if is_capitals and rule and title[0].isalpha() and title[-1] not in ".,;" else 0


def _without_rules(lines: list[str]) -> list[str]:
    return [line for line in lines if not UNDERLINE.fullmatch(line.strip())]


def unwrap(lines: list[str]) -> str:
    """Join lines that were only broken to fit a page: the first is long, the second starts no list item or column."""
    parts: list[str] = []
    for index, line in enumerate(lines):
        is_continued = index > 0 and len(lines[index - 1]) >= WRAPPED_CHARACTERS and not ITEM.match(line)
        is_hanging = index > 0 and bool(ITEM.match(lines[index - 1])) and line.startswith("  ") and not ITEM.match(line)
        parts.append(
            ("" if index == 0 else " " if is_continued or is_hanging else "\n") + _dedent(line, index, is_hanging)
        )
    return "".join(parts)


def _dedent(line: str, index: int, is_hanging: bool) -> str:
    return line.strip() if is_hanging or index == 0 else line.rstrip()
