"""EML: headers as facts, the text (or HTML) body, attachments one level deep."""

import email
import email.policy
from collections.abc import Callable
from email.message import EmailMessage, MIMEPart

from ingest.documents import ParsedDocument
from ingest.parse.decode import decode
from ingest.parse.html import add_html
from ingest.parse.outline import Outline, one_line
from ingest.parse.reasons import ParseError
from ingest.parse.text import add_text

SHOWN_HEADERS = ("From", "To", "Cc", "Date", "Subject")
ParseAttachment = Callable[[bytes, str], ParsedDocument]


def parse(data: bytes, name: str, parse_attachment: ParseAttachment | None = None) -> ParsedDocument:
    """`parse_attachment` reads an attached file; None leaves attachments closed and only names them."""
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    outline = Outline()
    outline.place("mail header")
    outline.paragraph("\n".join(_header_lines(message)))
    outline.place("")
    _add_body(outline, message)
    if parse_attachment:
        _add_attachments(outline, message, parse_attachment)
    return outline.finish("message/rfc822", name, title=_header(message, "Subject"))


def _header(message: EmailMessage, name: str) -> str:
    try:
        return one_line(str(message.get(name, "")))
    except (ValueError, IndexError, AttributeError, TypeError):
        # The standard library fails on some malformed headers instead of marking them as defective.
        return ""


def _header_lines(message: EmailMessage) -> list[str]:
    lines = [f"{name}: {value}" for name in SHOWN_HEADERS if (value := _header(message, name))]
    names = [_file_name(part) for part in message.iter_attachments()] if message.is_multipart() else []
    return [*lines, f"Attachments: {', '.join(names)}"] if names else lines


def _add_body(outline: Outline, message: EmailMessage) -> None:
    part = message.get_body(preferencelist=("plain", "html"))
    if part is None:
        return
    text = _decoded(part)
    if part.get_content_subtype() == "html":
        add_html(outline, text)
    else:
        add_text(outline, text)


def _decoded(part: MIMEPart) -> str:
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    try:
        return data.decode(part.get_content_charset() or "utf-8")
    except (LookupError, UnicodeDecodeError):
        return decode(data)


def _add_attachments(outline: Outline, message: EmailMessage, parse_attachment: ParseAttachment) -> None:
    if not message.is_multipart():
        return
    for part in message.iter_attachments():
        data = part.get_payload(decode=True)
        if not isinstance(data, bytes) or not data:
            continue
        name = _file_name(part)
        try:
            attached = parse_attachment(data, name)
        except ParseError:
            # The header names it; a picture in a signature is no reason to call the mail a failure.
            continue
        outline.include(attached.blocks, name, f"attachment {name}")


def _file_name(part: EmailMessage) -> str:
    return one_line(part.get_filename() or "") or part.get_content_type()
