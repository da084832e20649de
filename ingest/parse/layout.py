"""Printed lines to headings and paragraphs: by their size, and by the gaps between them. Pure."""

import re
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from ingest.parse.outline import Outline
from ingest.parse.text import unwrap

HEADING_RATIO = 1.12
PARAGRAPH_GAP = 1.45
"""Distance between two lines' tops, in line heights, from which a new paragraph begins."""

WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
DIVIDED = re.compile(r"([^\W\d_]*[a-zà-öø-ÿ])-$")
CONTINUED = re.compile(r"[a-zà-öø-ÿ][^\W\d_]*")


@dataclass(frozen=True, slots=True)
class Line:
    """One printed line; `top` and `height` in points, the page's origin at its lower left."""

    text: str
    top: float
    height: float


@dataclass(frozen=True, slots=True)
class Typography:
    """What a whole document says about each of its lines. sizes: heights of headings, the largest first."""

    sizes: Sequence[float]
    words: Container[str]


def typography(lines: Iterable[Line]) -> Typography:
    every = list(lines)
    words = {match[0].lower() for line in every for match in WORD.finditer(line.text)}
    return Typography(heading_sizes(every), words)


def heading_sizes(lines: Sequence[Line]) -> list[float]:
    """Heights that mark headings, the largest first: clearly larger than the height most text is set in."""
    weights: Counter[float] = Counter()
    for line in lines:
        weights[_size(line)] += len(line.text)
    body = weights.most_common(1)[0][0] if weights else 0.0
    larger = [size for size in weights if body > 0 and size > body * HEADING_RATIO]
    return sorted(larger, reverse=True)


def _size(line: Line) -> float:
    return round(line.height * 2) / 2


def add_page(outline: Outline, lines: Sequence[Line], look: Typography) -> None:
    paragraph: list[Line] = []
    for line in lines:
        is_heading = _size(line) in look.sizes and len(line.text.strip()) > 2 and any(map(str.isalpha, line.text))
        if paragraph and (is_heading or _is_apart(paragraph[-1], line)):
            _add_paragraph(outline, paragraph, look)
            paragraph = []
        paragraph.append(line)
        if is_heading:
            _add_paragraph(outline, paragraph, look)
            paragraph = []
    _add_paragraph(outline, paragraph, look)


def _add_paragraph(outline: Outline, lines: list[Line], look: Typography) -> None:
    if not lines:
        return
    text = [line.text.rstrip() for line in lines]
    if len(lines) == 1 and _size(lines[0]) in look.sizes:
        outline.heading(look.sizes.index(_size(lines[0])) + 1, text[0])
    else:
        outline.paragraph(unwrap(join_hyphens(text, look.words)))


def _is_apart(above: Line, below: Line) -> bool:
    height = max(above.height, below.height)
    return height > 0 and abs(above.top - below.top) > PARAGRAPH_GAP * height


def join_hyphens(lines: Sequence[str], words: Container[str]) -> list[str]:
    """A word that was divided at the line's end is put together again on the upper line.

    Its hyphen goes, unless the document has the word with the hyphen elsewhere and never without ("multi-agent").
    """
    joined: list[str] = []
    for line in lines:
        left = DIVIDED.search(joined[-1]) if joined else None
        right = CONTINUED.match(line)
        if not left or not right:
            joined.append(line)
            continue
        whole, hyphened = f"{left[1]}{right[0]}".lower(), f"{left[1]}-{right[0]}".lower()
        head, _, rest = line.partition(" ")
        keeps_hyphen = hyphened in words and whole not in words
        joined[-1] = joined[-1][: None if keeps_hyphen else -1] + head
        joined += [rest] if rest else []
    return joined
