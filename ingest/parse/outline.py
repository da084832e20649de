"""The builder that every parser fills while it walks a document: headings, paragraphs and tables to blocks."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from ingest.documents import Block, ParsedDocument
from ingest.parse.reasons import ParseError, Reason
from ingest.parse.table import table_lines

MAX_CHARACTERS = 10_000_000
"""Text of one document beyond which it is refused: some 15,000 chunks, hours of embedding on a small machine."""

MAX_BLOCKS = 200_000
"""Paragraphs and tables of one document: the server holds them all for a moment."""

MAX_HEADING_CHARACTERS = 200
UNWANTED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u00ad\u200b\u2060\ufeff\ufffe\uffff\ud800-\udfff]")
LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "\u00a0": " ", "\u202f": " "})
SUFFIX = re.compile(r"\.[a-z][a-z0-9]{0,7}$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Heading:
    level: int
    title: str


class Outline:
    """Blocks in reading order under a running heading path.

    A heading without anything below it becomes a block of its own, so that its words are not lost.
    Raises ParseError (too_large) when the text grows beyond MAX_CHARACTERS or MAX_BLOCKS.
    """

    def __init__(self) -> None:
        self.location = ""
        self._path: list[Heading] = []
        self._tops: list[Heading] = []
        self._blocks: list[Block] = []
        self._is_bare = False
        self._num_characters = 0

    def heading(self, level: int, text: str) -> None:
        title = one_line(text)
        if not title:
            return
        if len(title) > MAX_HEADING_CHARACTERS:
            self.paragraph(title)
            return
        self._close_bare(level)
        while self._path and self._path[-1].level >= level:
            self._path.pop()
        self._path.append(Heading(level, title))
        self._tops.append(self._path[-1])
        self._is_bare = True

    def paragraph(self, text: str) -> None:
        self._add(clean(text), is_table=False)

    def table(self, rows: Iterable[Sequence[str]], num_header_rows: int | None = None) -> None:
        """`num_header_rows`: None to tell the header by its look."""
        cells = [[one_line(cell) for cell in row] for row in rows]
        self._add("\n".join(table_lines(cells, num_header_rows)), is_table=True)

    def place(self, location: str) -> None:
        """Set the location of what follows."""
        self._close_bare(0)
        self.location = location

    def include(self, blocks: Iterable[Block], heading: str, location: str) -> None:
        """Take over another document's blocks below `heading`, e.g. an attachment's."""
        for block in blocks:
            place = f"{location}, {block.location}" if block.location else location
            self._append(replace(block, heading_path=(heading, *block.heading_path), location=place))

    def finish(self, media_type: str, name: str, *, title: str = "", property_title: str = "") -> ParsedDocument:
        """The document, titled by `title`, its only top heading, `property_title` or its file's name, in this order."""
        self._close_bare(0)
        chosen = one_line(title) or self._only_top() or one_line(property_title) or prettify(name)
        chosen = chosen[:MAX_HEADING_CHARACTERS]
        blocks = tuple(_without_title(block, chosen) for block in self._blocks)
        return ParsedDocument(chosen, blocks, media_type)

    def _only_top(self) -> str:
        level = min((heading.level for heading in self._tops), default=0)
        tops = [heading.title for heading in self._tops if heading.level == level]
        return tops[0] if len(tops) == 1 else ""

    def _close_bare(self, next_level: int) -> None:
        if self._is_bare and self._path[-1].level >= next_level:
            path = tuple(heading.title for heading in self._path)
            self._append(Block(path[-1], path[:-1], self.location))
        self._is_bare = False

    def _add(self, text: str, *, is_table: bool) -> None:
        if text:
            self._is_bare = False
            self._append(Block(text, tuple(heading.title for heading in self._path), self.location, is_table))

    def _append(self, block: Block) -> None:
        self._num_characters += len(block.text)
        if self._num_characters > MAX_CHARACTERS:
            raise ParseError(
                Reason.TOO_LARGE, f"The text is longer than {MAX_CHARACTERS:,} characters. Split the file."
            )
        if len(self._blocks) >= MAX_BLOCKS:
            raise ParseError(Reason.TOO_LARGE, f"It has more than {MAX_BLOCKS:,} paragraphs. Split the file.")
        self._blocks.append(block)


def clean(text: str) -> str:
    """Printable text in composed form (NFC): no control characters, trailing spaces or runs of empty lines."""
    text = UNWANTED.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0b", "\n").replace("\x0c", "\n"))
    text = unicodedata.normalize("NFC", text.translate(LIGATURES))
    lines = [line.rstrip() for line in text.expandtabs(4).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n").rstrip()


def one_line(text: str) -> str:
    return " ".join(clean(text).split())


def prettify(name: str) -> str:
    """A title from a file's name: "carrier_cut-offs-26.html.md" is "Carrier cut-offs 26", "cut-offs.csv" is "Cut offs".

    A hyphen between letters stands for a space only where nothing else does.
    """
    stem = PurePath(name).name
    while SUFFIX.search(stem):
        stem = SUFFIX.sub("", stem)
    has_spaces = bool(re.search(r"[^\W_][_ ]+[^\W_]", stem))
    gap = r"_+|(?<=[^\W\d])-(?=\d)|(?<=\d)-(?=[^\W\d])" if has_spaces else r"[_\-]+"
    title = one_line(re.sub(gap, " ", stem)) or one_line(name) or "untitled"
    return title[0].upper() + title[1:]


def _without_title(block: Block, title: str) -> Block:
    path = block.heading_path
    if path and path[0].casefold() == title.casefold():
        return replace(block, heading_path=path[1:])
    return block
