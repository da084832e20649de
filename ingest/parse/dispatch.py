"""Bytes of any file to a parsed document, or to the reason why not."""

from collections.abc import Callable
from functools import partial

from ingest.documents import ParsedDocument
from ingest.parse import delimited, html, mail, markdown, pdf, picture, sheets, slides, text, word
from ingest.parse.ocr import Ocr
from ingest.parse.reasons import ParseError, Reason
from ingest.parse.sniff import Format, detect

PARSER_VERSION = 3
"""Raised whenever equal bytes may give other blocks; documents are then read again."""

Parser = Callable[[bytes, str], ParsedDocument]

PARSERS: dict[Format, Parser] = {
    Format.MARKDOWN: markdown.parse,
    Format.TEXT: text.parse,
    Format.HTML: html.parse,
    Format.DOCX: word.parse,
    Format.PPTX: slides.parse,
    Format.XLSX: sheets.parse,
    Format.DELIMITED: delimited.parse,
}


def parse(data: bytes, name: str, ocr: Ocr | None = None) -> ParsedDocument:
    """`name` is the file's name: a hint, and the last resort for a title. Raises ParseError or MemoryError."""
    attachments = partial(_parse, ocr=ocr, parse_attachment=None)
    return _parse(data, name, ocr, attachments)


def _parse(data: bytes, name: str, ocr: Ocr | None, parse_attachment: mail.ParseAttachment | None) -> ParsedDocument:
    kind = detect(data, name)
    parsers: dict[Format, Parser] = PARSERS | {
        Format.PDF: partial(pdf.parse, ocr=ocr),
        Format.PICTURE: partial(picture.parse, ocr=ocr),
        Format.MAIL: partial(mail.parse, parse_attachment=parse_attachment),
    }
    document = _guarded(parsers[kind], kind, data, name)
    if not any(block.text.strip() for block in document.blocks):
        raise ParseError(Reason.NO_TEXT, "There is no text in it.")
    return document


def _guarded(parser: Parser, kind: Format, data: bytes, name: str) -> ParsedDocument:
    # The libraries raise anything at all on broken input; here it becomes one reason.
    try:
        return parser(data, name)
    except (ParseError, MemoryError):
        raise
    except RecursionError as error:
        raise ParseError(Reason.TOO_LARGE, f"The {kind} file is nested too deeply.") from error
    except Exception as error:
        if _is_out_of_memory(error):
            raise MemoryError from error
        raise ParseError(
            Reason.DAMAGED, f"The {kind} file cannot be read ({type(error).__name__}: {error})."
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    """Native libraries say it in words of their own: lxml, zlib, OpenCV, C++."""
    said = str(error).lower()
    return any(words in said for words in ("out of memory", "insufficient memory", "cannot allocate", "bad_alloc"))
