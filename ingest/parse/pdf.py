"""PDF through pdfium: text a page, with headings told by their size and paragraphs by the gaps between lines."""

import ctypes
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from ingest.documents import ParsedDocument
from ingest.parse.outline import Outline, clean
from ingest.parse.reasons import ParseError, Reason
from ingest.parse.text import unwrap

HEADING_RATIO = 1.12
PARAGRAPH_GAP = 1.45
"""Distance between two lines' tops, in line heights, from which a new paragraph begins."""

JUNK_TITLE = re.compile(
    r"untitled|microsoft \w+ - .*|.*\.(?:docx?|pptx?|xlsx?|indd|qxd|pdf|pmd|p65|wpd|fm)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Line:
    """One printed line; `top` and `height` in points, the page's origin at its lower left."""

    text: str
    top: float
    height: float


def parse(data: bytes, name: str) -> ParsedDocument:
    document = _open(data)
    try:
        pages = [_lines(document, index) for index in range(len(document))]
        title = clean(document.get_metadata_dict().get("Title", ""))
    finally:
        document.close()
    if not any(line.text.strip() for page in pages for line in page):
        raise _no_text(len(pages))
    outline = Outline()
    sizes = heading_sizes([line for page in pages for line in page])
    for number, page in enumerate(pages, 1):
        outline.place(f"page {number}")
        add_page(outline, page, sizes)
    return outline.finish("application/pdf", name, property_title="" if JUNK_TITLE.fullmatch(title) else title)


def _no_text(num_pages: int) -> ParseError:
    if num_pages == 0:
        return ParseError(Reason.DAMAGED, "The PDF has no page that can be read.")
    return ParseError(
        Reason.NO_TEXT, f"None of the {num_pages} pages has text; it was probably scanned. Run OCR first."
    )


def _open(data: bytes) -> Any:
    import pypdfium2
    from pypdfium2 import raw

    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
            raise ParseError(
                Reason.ENCRYPTED, "The PDF opens only with a password. Save a copy without one."
            ) from error
        raise ParseError(Reason.DAMAGED, f"The PDF cannot be opened ({error}).") from error


def _lines(document: Any, index: int) -> list[Line]:
    """The lines of one page; a page that cannot be loaded has none, so that the others still count."""
    import pypdfium2

    try:
        page = document[index]
    except pypdfium2.PdfiumError:
        return []
    try:
        text_page = page.get_textpage()
        return _read_lines(text_page)
    except pypdfium2.PdfiumError:
        return []
    finally:
        page.close()


def _read_lines(text_page: Any) -> list[Line]:
    """Split at pdfium's own line ends. Its indexes count UTF-16 units, so the text is cut in that encoding."""
    from pypdfium2 import raw

    count = raw.FPDFText_CountChars(text_page)
    if count <= 0:
        return []
    buffer = ctypes.create_string_buffer((count + 1) * 2)
    written = raw.FPDFText_GetText(text_page, 0, count, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)))
    units = buffer.raw[: max(0, written - 1) * 2].decode("utf-16-le", errors="replace")
    lines: list[Line] = []
    start = 0
    for text in units.split("\n"):
        lines.append(_measured(text_page, text.rstrip("\r"), start))
        start += len(text.encode("utf-16-le", errors="replace")) // 2 + 1
    return [line for line in lines if line.text.strip()]


def _measured(text_page: Any, text: str, start: int) -> Line:
    """With the box of its first visible character; a box that pdfium does not know has height 0."""
    from pypdfium2 import raw

    offset = len(text) - len(text.lstrip())
    box = raw.FS_RECTF()
    is_known = bool(raw.FPDFText_GetLooseCharBox(text_page, start + offset, box))
    # U+FFFE stands for a hyphen at a line's end, U+0002 likewise in older files.
    text = text.replace("\ufffe", "-").replace("\x02", "-")
    return Line(text, box.top if is_known else 0.0, abs(box.top - box.bottom) if is_known else 0.0)


def heading_sizes(lines: list[Line]) -> list[float]:
    """Heights that mark headings, the largest first: clearly larger than the height most text is set in."""
    weights: Counter[float] = Counter()
    for line in lines:
        weights[_size(line)] += len(line.text)
    body = weights.most_common(1)[0][0]
    larger = [size for size in weights if body > 0 and size > body * HEADING_RATIO]
    return sorted(larger, reverse=True)


def _size(line: Line) -> float:
    return round(line.height * 2) / 2


def add_page(outline: Outline, lines: list[Line], sizes: list[float]) -> None:
    paragraph: list[Line] = []
    for line in lines:
        is_heading = _size(line) in sizes and len(line.text.strip()) > 2 and any(map(str.isalpha, line.text))
        if paragraph and (is_heading or _is_apart(paragraph[-1], line)):
            _add_paragraph(outline, paragraph, sizes)
            paragraph = []
        paragraph.append(line)
        if is_heading:
            _add_paragraph(outline, paragraph, sizes)
            paragraph = []
    _add_paragraph(outline, paragraph, sizes)


def _add_paragraph(outline: Outline, lines: list[Line], sizes: list[float]) -> None:
    if not lines:
        return
    text = [line.text.rstrip() for line in lines]
    if len(lines) == 1 and _size(lines[0]) in sizes:
        outline.heading(sizes.index(_size(lines[0])) + 1, text[0])
    else:
        outline.paragraph(unwrap(_join_hyphens(text)))


def _is_apart(above: Line, below: Line) -> bool:
    height = max(above.height, below.height)
    return height > 0 and abs(above.top - below.top) > PARAGRAPH_GAP * height


def _join_hyphens(lines: list[str]) -> list[str]:
    """A word that was divided at the line's end is put together again on the upper line."""
    joined: list[str] = []
    for line in lines:
        if joined and re.search(r"[a-zäöüß]-$", joined[-1]) and re.match(r"[a-zäöüß]", line):
            head, _, rest = line.partition(" ")
            joined[-1] = joined[-1][:-1] + head
            joined += [rest] if rest else []
        else:
            joined.append(line)
    return joined
