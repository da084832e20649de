"""Cut a parsed document into chunks along its structure. Pure: the two tokenizers come in as functions.

A chunk holds neighbouring paragraphs, list items or table rows of one section and one location. It is sized in the base
model's tokens, and together with its context line ("title > headings") it is never longer than what the embedder reads.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby

from ingest.documents import Block, ParsedDocument

CHUNKER_VERSION = 1
"""Raised whenever equal documents may get other chunks; documents are then cut again."""

JOIN_BELOW = 0.2
JOINED_AT_MOST = 0.6
"""Sections smaller than the first share of a chunk are put together with a neighbour, up to the second."""

SEPARATOR_TOKENS = 2
LONGEST_TOKEN = 12
"""Characters a token may have on average before counting is a waste: such a text is too long anyway."""

SENTENCE_END = re.compile(r"""(?<=[.!?…])["'”’)\]]*\s+(?=["'“‘(\[]?[A-ZÄÖÜÀ-Þ0-9])|(?<=[。！？])""")
ROW_RANGE = re.compile(r"(?P<head>.*?)(?P<first>\d+)(?P<middle>[:-][A-Z]*)(?P<last>\d+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """target_tokens: size of a chunk in the base model's tokens. max_pieces: what the embedder reads, in its own word
    pieces with the special ones. The functions count in these two units; `count_pieces("")` is the special ones alone.
    """

    target_tokens: int
    max_pieces: int
    count_tokens: Callable[[str], int]
    count_pieces: Callable[[str], int]


@dataclass(frozen=True, slots=True)
class ChunkDraft:
    """A chunk without identity."""

    text: str
    heading_path: tuple[str, ...]
    location: str
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Piece:
    """What is never divided further. share: of a whole chunk. row: which line of its table, None for prose."""

    text: str
    share: float
    separator: str
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """Pieces under one heading path in one location. num_rows: lines of its only table, 0 where there is other text."""

    heading_path: tuple[str, ...]
    location: str
    pieces: tuple[Piece, ...]
    num_rows: int = 0

    @property
    def share(self) -> float:
        return sum(piece.share for piece in self.pieces)


def chunk_document(document: ParsedDocument, sizes: ChunkSizes) -> list[ChunkDraft]:
    """All text of the document, in order, without overlap."""
    groups = groupby(document.blocks, key=lambda block: (block.heading_path, block.location))
    sections = [_section(document.title, list(blocks), sizes) for _, blocks in groups]
    joined = _join_small([section for section in sections if section.pieces], sizes)
    return [draft for section in joined for draft in _drafts(section, sizes)]


def context_line(title: str, heading_path: Sequence[str], sizes: ChunkSizes) -> str:
    """What stands before a chunk for the embedder: "title > headings", at most a third of what it reads.

    An over-long one keeps its end, as the innermost headings say most; a piece is at least one character.
    """
    line = " > ".join([title, *heading_path])
    limit = sizes.max_pieces // 3
    return line if sizes.count_pieces(line) <= limit else line[-limit:]


def embedding_text(title: str, heading_path: Sequence[str], text: str, sizes: ChunkSizes) -> str:
    return f"{context_line(title, heading_path, sizes)}\n{text}"


def _section(title: str, blocks: list[Block], sizes: ChunkSizes) -> Section:
    path = blocks[0].heading_path
    room = sizes.max_pieces - sizes.count_pieces(context_line(title, path, sizes))

    @cache  # asked again where a paragraph is divided, and for each part that fits
    def share(text: str) -> float:
        if len(text) > LONGEST_TOKEN * sizes.target_tokens:
            return math.inf
        tokens = (sizes.count_tokens(text) + SEPARATOR_TOKENS) / sizes.target_tokens
        return max(tokens, (sizes.count_pieces(text) - sizes.count_pieces("")) / room)

    pieces = tuple(piece for block in blocks for piece in _pieces(block, share))
    num_rows = blocks[0].text.count("\n") + 1 if len(blocks) == 1 and blocks[0].is_table else 0
    return Section(path, blocks[0].location, pieces, num_rows)


def _pieces(block: Block, share: Callable[[str], float]) -> Iterator[Piece]:
    """Rows of a table, whole paragraphs otherwise; what is larger than a chunk is split at the next finer joint."""
    if not block.is_table:
        for index, (separator, text) in enumerate(_fitting(block.text, share, 0)):
            yield Piece(text, share(text), separator if index else "\n\n")
        return
    for row, line in enumerate(block.text.split("\n")):
        for index, (separator, text) in enumerate(_fitting(line, share, 2)):
            yield Piece(text, share(text), separator if index else "\n", row)


@dataclass(frozen=True, slots=True)
class Joint:
    """Where a text may be divided, and what stands there when two parts come together again."""

    pattern: re.Pattern[str]
    separator: str


JOINTS = (
    Joint(re.compile(r"\n{2,}"), "\n\n"),
    Joint(re.compile(r"\n"), "\n"),
    Joint(SENTENCE_END, " "),
    Joint(re.compile(r"(?<=[;,:|])\s+"), " "),
)


def _fitting(text: str, share: Callable[[str], float], level: int) -> Iterator[tuple[str, str]]:
    """(separator before, text) parts that fit one chunk each; only the separators between them are lost."""
    if not text.strip():
        return
    if share(text) <= 1:
        yield "", text
        return
    if level == len(JOINTS):
        for index, half in enumerate(_halves(text)):
            for separator, part in _fitting(half, share, level):
                yield separator or (" " if index else ""), part
        return
    joint = JOINTS[level]
    for index, part in enumerate(part for part in _split(joint.pattern, text) if part.strip()):
        for inner, (separator, fitting) in enumerate(_fitting(part, share, level + 1)):
            yield (separator if inner else joint.separator if index else ""), fitting


def _split(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    """Parts between matches. A match may begin with closing quotes, which belong to the part before."""
    start = 0
    for match in pattern.finditer(text):
        end = match.start() + len(match[0].rstrip())
        yield text[start:end]
        start = match.end()
    yield text[start:]


def _halves(text: str) -> tuple[str, str]:
    """At the space nearest before the middle; in the middle of a word only if there is none."""
    middle = len(text) // 2
    at = text.rfind(" ", middle // 2, middle + 1)
    return (text[:middle], text[middle:]) if at <= 0 else (text[:at], text[at + 1 :])


def _join_small(sections: list[Section], sizes: ChunkSizes) -> list[Section]:
    joined: list[Section] = []
    for section in sections:
        if joined and _may_join(joined[-1], section):
            joined[-1] = _join(joined[-1], section, sizes)
        else:
            joined.append(section)
    return joined


def _may_join(above: Section, below: Section) -> bool:
    """Both small, in one place, and brothers or a parent with its first child."""
    is_near = below.heading_path[:-1] in (above.heading_path, above.heading_path[:-1]) and below.heading_path
    is_small = min(above.share, below.share) <= JOIN_BELOW and above.share + below.share <= JOINED_AT_MOST
    return bool(is_near) and is_small and above.location == below.location and not above.num_rows + below.num_rows


def _join(above: Section, below: Section, sizes: ChunkSizes) -> Section:
    """Under the parent's headings; a section that loses its own heading so gets it as a line of text."""
    parent = below.heading_path[:-1]
    pieces = above.pieces if above.heading_path == parent else _with_heading(above, sizes)
    return replace(above, heading_path=parent, pieces=(*pieces, *_with_heading(below, sizes)))


def _with_heading(section: Section, sizes: ChunkSizes) -> tuple[Piece, ...]:
    heading = section.heading_path[-1]
    share = max(sizes.count_tokens(heading) / sizes.target_tokens, sizes.count_pieces(heading) / sizes.max_pieces)
    first, *rest = section.pieces
    return (Piece(heading, share, "\n\n"), replace(first, separator="\n"), *rest)


def _drafts(section: Section, sizes: ChunkSizes) -> Iterator[ChunkDraft]:
    for pieces in pack(section.pieces):
        text = pieces[0].text + "".join(piece.separator + piece.text for piece in pieces[1:])
        location = _narrow(section, pieces)
        yield ChunkDraft(text, section.heading_path, location, sizes.count_tokens(text))


def pack(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Runs of pieces whose shares add up to at most 1, as even as that allows instead of full ones and a remainder."""
    rest = sum(piece.share for piece in pieces)
    goal = _even_share(rest)
    current: list[Piece] = []
    share = 0.0
    for piece in pieces:
        if current and (share + piece.share > 1 or share + piece.share / 2 > goal):
            yield current
            rest -= share
            goal = _even_share(rest)
            current, share = [], 0.0
        current.append(piece)
        share += piece.share
    if current:
        yield current


def _even_share(rest: float) -> float:
    """What each chunk would hold if the rest could be divided evenly; rounding must not ask for one chunk more."""
    return rest / max(1, math.ceil(rest - 1e-9))


def _narrow(section: Section, pieces: Sequence[Piece]) -> str:
    """Part of a table: only the rows that it holds. The table's range may begin with caption and header rows."""
    found = ROW_RANGE.fullmatch(section.location)
    rows = [piece.row for piece in pieces if piece.row is not None]
    if not found or not section.num_rows or not rows:
        return section.location
    first_data_row = int(found["last"]) - section.num_rows + 1
    return f"{found['head']}{first_data_row + rows[0]}{found['middle']}{first_data_row + rows[-1]}"
