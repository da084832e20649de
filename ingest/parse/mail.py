"""EML: headers as facts, the text (or HTML) body, attachments one level deep.

An attachment that cannot be read is named with its reason in the header's list and in `unread`; the mail itself counts.
Pictures (logos in signatures, mostly) are named only, unless OCR finds text in them.
"""

import email
import email.policy
import email.utils
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.message import EmailMessage, MIMEPart

from ingest.documents import Failure, ParsedDocument
from ingest.parse.decode import decode
from ingest.parse.html import add_html
from ingest.parse.outline import Outline, one_line
from ingest.parse.reasons import ParseError, Reason
from ingest.parse.text import add_text

SHOWN_HEADERS = ("From", "To", "Cc", "Date", "Subject")
MAX_ATTACHMENTS = 100
"""Attachments of one mail that are opened; more are counted."""

ParseAttachment = Callable[[bytes, str], ParsedDocument]


@dataclass(frozen=True, slots=True)
class Attachment:
    """What became of it: a document, a failure, or neither where it is only named."""

    name: str
    document: ParsedDocument | None = None
    failure: Failure | None = None

    @property
    def label(self) -> str:
        return f"{self.name} (not read: {self.failure.reason})" if self.failure else self.name


def parse(data: bytes, name: str, parse_attachment: ParseAttachment | None = None) -> ParsedDocument:
    """`parse_attachment` reads an attached file; None leaves attachments closed and only names them."""
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    parts = _attached_parts(message)
    attachments = [_open_attachment(part, parse_attachment) for part in parts[:MAX_ATTACHMENTS]]
    outline = Outline()
    outline.place("mail header")
    outline.paragraph("\n".join(_header_lines(message, attachments, len(parts))))
    outline.place("")
    _add_body(outline, message)
    for attachment in attachments:
        if attachment.document:
            outline.include(attachment.document.blocks, attachment.name, f"attachment {attachment.name}")
    mail = outline.finish("message/rfc822", name, title=_header(message, "Subject"))
    return replace(mail, date=_date(message), unread=tuple(_unread(attachments, len(parts))))


def _header(message: EmailMessage, name: str) -> str:
    try:
        return one_line(str(message.get(name, "")))
    except (ValueError, IndexError, AttributeError, TypeError):
        # The standard library fails on some malformed headers instead of marking them as defective.
        return ""


def _date(message: EmailMessage) -> str:
    try:
        return email.utils.parsedate_to_datetime(_header(message, "Date")).date().isoformat()
    except (ValueError, OverflowError):
        return ""


def _header_lines(message: EmailMessage, attachments: list[Attachment], num_parts: int) -> list[str]:
    lines = [f"{name}: {value}" for name in SHOWN_HEADERS if (value := _header(message, name))]
    labels = [attachment.label for attachment in attachments]
    if num_parts > len(labels):
        labels.append(f"{num_parts - len(labels):,} more (not read)")
    return [*lines, f"Attachments: {', '.join(labels)}"] if labels else lines


def _unread(attachments: list[Attachment], num_parts: int) -> list[Failure]:
    failures = [attachment.failure for attachment in attachments if attachment.failure]
    for attachment in attachments:
        inner = attachment.document.unread if attachment.document else ()
        failures += [replace(failure, path=f"attachment {attachment.name}, {failure.path}") for failure in inner]
    if num_parts > len(attachments):
        detail = f"Only the first {len(attachments)} of {num_parts:,} attachments are read."
        failures.append(Failure("further attachments", Reason.TOO_LARGE, detail))
    return failures


def _add_body(outline: Outline, message: EmailMessage) -> None:
    """The plain version, or the one in HTML where that is missing or blank."""
    for kind in ("plain", "html"):
        part = message.get_body(preferencelist=(kind,))
        text = _decoded(part) if part is not None else ""
        if part is None or not text.strip():
            continue
        if part.get_content_subtype() == "html":
            add_html(outline, text)
        else:
            add_text(outline, text)
        return


def _decoded(part: MIMEPart) -> str:
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return ""
    try:
        return data.decode(part.get_content_charset() or "utf-8")
    except (LookupError, UnicodeDecodeError):
        return decode(data)


def _attached_parts(message: EmailMessage) -> list[EmailMessage]:
    if not message.is_multipart():
        return []
    try:
        return list(message.iter_attachments())
    except (AttributeError, KeyError, TypeError):
        # A multipart mail without parts.
        return []


def _open_attachment(part: EmailMessage, parse_attachment: ParseAttachment | None) -> Attachment:
    name = _file_name(part)
    place = f"attachment {name}"
    try:
        data = _content(part)
        if parse_attachment is None or not data:
            return Attachment(name)
        return Attachment(name, parse_attachment(data, name))
    except ParseError as error:
        is_picture = part.get_content_maintype() == "image"
        return Attachment(name, failure=None if is_picture else Failure(place, error.reason, error.message))
    except RecursionError:
        return Attachment(name, failure=Failure(place, Reason.TOO_LARGE, "It is nested too deeply."))


def _content(part: EmailMessage) -> bytes:
    """The attached file; a mail that was forwarded as such is written out again."""
    if part.get_content_type() == "message/rfc822" and part.is_multipart():
        inner = part.get_payload(0)
        return inner.as_bytes() if isinstance(inner, EmailMessage) else b""
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _file_name(part: EmailMessage) -> str:
    name = one_line(part.get_filename() or "")
    if name or part.get_content_type() != "message/rfc822" or not part.is_multipart():
        return name or part.get_content_type()
    inner = part.get_payload(0)
    subject = _header(inner, "Subject") if isinstance(inner, EmailMessage) else ""
    return f"{subject or 'message'}.eml"
