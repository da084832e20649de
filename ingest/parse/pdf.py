"""PDF through pdfium: the text of each page, and of scanned pages too where OCR is on.

Kept: text in pdfium's reading order, what forms are filled in with. Lost: table structure, pictures, comments, layers
that are hidden, files attached to it.
"""

import ctypes
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ingest.documents import Failure, ParsedDocument
from ingest.parse.layout import Line, add_page, typography
from ingest.parse.ocr import MAX_SIDE, Ocr
from ingest.parse.outline import Outline, clean
from ingest.parse.reasons import ParseError, Reason

JUNK_TITLE = re.compile(
    r"untitled|microsoft \w+ - .*|.*\.(?:docx?|pptx?|xlsx?|indd|qxd|pdf|pmd|p65|wpd|fm)", re.IGNORECASE
)
HYPHENS = "\ufffe\x02"
"""What pdfium puts for a hyphen at a line's end, instead of the line's end; the second in older files."""

PRINTED_LINE = re.compile(rf"[^\n{HYPHENS}]*[\n{HYPHENS}]?")
PAYLOAD = re.compile(rb"/EncryptedPayload\b")
SCAN_SHARE = 0.1
"""Of a page's area, that pictures must cover for a page without text to count as scanned."""

OCR_DOTS_PER_POINT = 200 / 72
INSTALL_OCR = 'To read it install housevoice[ocr] and set ingest.ocr = "auto".'


@dataclass(frozen=True, slots=True)
class Page:
    lines: Sequence[Line]
    is_loaded: bool
    is_scan: bool


def parse(data: bytes, name: str, ocr: Ocr | None = None) -> ParsedDocument:
    if PAYLOAD.search(data):
        raise ParseError(Reason.RIGHTS_MANAGED, "It is the cover of a PDF that is protected by rights management.")
    document = _open(data)
    try:
        pages = [_page(document, index, ocr) for index in range(len(document))]
        title = clean(document.get_metadata_dict().get("Title", ""))
    finally:
        document.close()
    if not any(page.lines for page in pages):
        raise _no_text(pages, ocr)
    outline = Outline()
    look = typography(line for page in pages for line in page.lines)
    for number, page in enumerate(pages, 1):
        outline.place(f"page {number}")
        add_page(outline, page.lines, look)
    parsed = outline.finish("application/pdf", name, property_title="" if JUNK_TITLE.fullmatch(title) else title)
    return replace(parsed, unread=tuple(_unread(pages)))


def _no_text(pages: Sequence[Page], ocr: Ocr | None) -> ParseError:
    if not any(page.is_loaded for page in pages):
        return ParseError(Reason.DAMAGED, "The PDF has no page that can be read.")
    if ocr is None and any(page.is_scan for page in pages):
        what = "its page is a picture" if len(pages) == 1 else f"its {len(pages)} pages are pictures"
        return ParseError(Reason.SCANNED, f"Scanned without text: {what}. {INSTALL_OCR}")
    return ParseError(
        Reason.NO_TEXT,
        f"There is no text on its {len(pages)} pages." if len(pages) > 1 else "There is no text on its page.",
    )


def _unread(pages: Sequence[Page]) -> list[Failure]:
    """Pages that a reader sees something on, and that gave no text."""
    scans = [number for number, page in enumerate(pages, 1) if page.is_scan and not page.lines]
    broken = [number for number, page in enumerate(pages, 1) if not page.is_loaded]
    found = ((scans, Reason.SCANNED, f"Scanned without text. {INSTALL_OCR}"), (broken, Reason.DAMAGED, "Not readable."))
    return [Failure(page_numbers(numbers), reason, detail) for numbers, reason, detail in found if numbers]


def page_numbers(numbers: Sequence[int]) -> str:
    """[2, 3, 4, 7] is "pages 2-4, 7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    text = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"{'page' if len(numbers) == 1 else 'pages'} {text}"


def _open(data: bytes) -> Any:
    import pypdfium2
    from pypdfium2 import raw

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        code = getattr(error, "err_code", None)
        if code == raw.FPDF_ERR_PASSWORD:
            raise ParseError(
                Reason.ENCRYPTED, "The PDF opens only with a password. Save a copy without one."
            ) from error
        if code == raw.FPDF_ERR_SECURITY:
            raise ParseError(
                Reason.RIGHTS_MANAGED, "The PDF is protected by rights management. Save a copy without protection."
            ) from error
        raise ParseError(Reason.DAMAGED, f"The PDF cannot be opened ({error}).") from error
    try:
        document.init_forms()
    except pypdfium2.PdfiumError:
        # Its text counts even if its form cannot be filled in.
        return document
    return document


def _page(document: Any, index: int, ocr: Ocr | None) -> Page:
    """One page; what cannot be loaded has no lines, so that the others still count."""
    import pypdfium2

    try:
        page = _with_form_values(document, index)
    except pypdfium2.PdfiumError:
        return Page((), is_loaded=False, is_scan=False)
    try:
        lines = _read_lines(page.get_textpage())
        is_scan = not lines and _is_picture(page)
        return Page(_recognise(page, ocr) if is_scan and ocr else lines, is_loaded=True, is_scan=is_scan)
    except pypdfium2.PdfiumError:
        return Page((), is_loaded=False, is_scan=False)
    finally:
        page.close()


def _with_form_values(document: Any, index: int) -> Any:
    """Values of form fields lie above the page; flattened into it they are text like any other."""
    import pypdfium2

    page = document[index]
    if not document.formenv:
        return page
    try:
        page.flatten()
    except pypdfium2.PdfiumError:
        return page
    page.close()
    return document[index]


def _is_picture(page: Any) -> bool:
    from pypdfium2 import raw

    covered = 0.0
    for picture in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=4):
        left, bottom, right, top = picture.get_bounds()
        covered += abs((right - left) * (top - bottom))
    area = page.get_width() * page.get_height()
    return bool(covered >= SCAN_SHARE * area > 0)


def _recognise(page: Any, ocr: Ocr) -> list[Line]:
    longer = max(page.get_width(), page.get_height())
    bitmap = page.render(scale=min(OCR_DOTS_PER_POINT, MAX_SIDE / longer), rev_byteorder=False)
    return ocr.read(bitmap.to_numpy()[:, :, :3].copy())


def _read_lines(text_page: Any) -> list[Line]:
    """Its printed lines. pdfium's indexes count UTF-16 units, so the text is measured in that encoding."""
    from pypdfium2 import raw

    count = raw.FPDFText_CountChars(text_page)
    if count <= 0:
        return []
    buffer = ctypes.create_string_buffer((count + 1) * 2)
    written = raw.FPDFText_GetText(text_page, 0, count, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)))
    units = buffer.raw[: max(0, written - 1) * 2].decode("utf-16-le", errors="replace")
    lines: list[Line] = []
    start = 0
    for match in PRINTED_LINE.finditer(units):
        lines.append(_measured(text_page, match[0].rstrip("\r\n"), start))
        start += len(match[0].encode("utf-16-le", errors="replace")) // 2
    return [line for line in lines if line.text.strip()]


def _measured(text_page: Any, text: str, start: int) -> Line:
    """With the box of its first visible character; a box that pdfium does not know has height 0."""
    from pypdfium2 import raw

    offset = len(text) - len(text.lstrip())
    box = raw.FS_RECTF()
    is_known = bool(raw.FPDFText_GetLooseCharBox(text_page, start + offset, box))
    text = text.replace(HYPHENS[0], "-").replace(HYPHENS[1], "-")
    return Line(text, box.top if is_known else 0.0, abs(box.top - box.bottom) if is_known else 0.0)
