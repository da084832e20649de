"""Bytes of any file to a parsed document, or to the reason why not."""

from collections.abc import Callable
from functools import partial

from ingest.documents import ParsedDocument
from ingest.parse import delimited, html, mail, markdown, pdf, sheets, slides, text, word
from ingest.parse.reasons import ParseError, Reason
from ingest.parse.sniff import Format, detect

PARSER_VERSION = 3
"""Raised whenever equal bytes may give other blocks; documents are then read again."""

PARSERS: dict[Format, Callable[[bytes, str], ParsedDocument]] = {
    Format.MARKDOWN: markdown.parse,
    Format.TEXT: text.parse,
    Format.HTML: html.parse,
    Format.PDF: pdf.parse,
    Format.DOCX: word.parse,
    Format.PPTX: slides.parse,
    Format.XLSX: sheets.parse,
    Format.DELIMITED: delimited.parse,
}


def parse(data: bytes, name: str) -> ParsedDocument:
    """`name` is the file's name, used as a hint and as the last resort for a title. Raises ParseError."""
    return _parse(data, name, partial(_parse, parse_attachment=None))


def _parse(data: bytes, name: str, parse_attachment: mail.ParseAttachment | None) -> ParsedDocument:
    kind = detect(data, name)
    document = mail.parse(data, name, parse_attachment) if kind is Format.MAIL else _guarded(kind, data, name)
    if not any(block.text.strip() for block in document.blocks):
        raise ParseError(Reason.NO_TEXT, "There is no text in it.")
    return document


def _guarded(kind: Format, data: bytes, name: str) -> ParsedDocument:
    # The libraries raise anything at all on broken input; here it becomes one reason.
    try:
        return PARSERS[kind](data, name)
    except (ParseError, MemoryError):
        raise
    except Exception as error:
        raise ParseError(
            Reason.DAMAGED, f"The {kind} file cannot be read ({type(error).__name__}: {error})."
        ) from error
