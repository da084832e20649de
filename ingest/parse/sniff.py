"""What a file is, by its content first and its name second."""

import re
from enum import StrEnum
from pathlib import PurePath

from ingest.parse.archive import check_archive
from ingest.parse.reasons import ParseError, Reason


class Format(StrEnum):
    MARKDOWN = "markdown"
    TEXT = "text"
    HTML = "html"
    PDF = "pdf"
    DOCX = "docx"
    PPTX = "pptx"
    XLSX = "xlsx"
    DELIMITED = "delimited"
    MAIL = "mail"


BY_SUFFIX = {
    ".pdf": Format.PDF,
    ".md": Format.MARKDOWN,
    ".markdown": Format.MARKDOWN,
    ".mdx": Format.MARKDOWN,
    ".html": Format.HTML,
    ".htm": Format.HTML,
    ".xhtml": Format.HTML,
    ".csv": Format.DELIMITED,
    ".tsv": Format.DELIMITED,
    ".psv": Format.DELIMITED,
    ".eml": Format.MAIL,
    ".txt": Format.TEXT,
}
OFFICE_PARTS = {"word/": Format.DOCX, "ppt/": Format.PPTX, "xl/": Format.XLSX}
BINARY = {
    b"\x89PNG": "PNG picture",
    b"\xff\xd8\xff": "JPEG picture",
    b"GIF8": "GIF picture",
    b"BM": "BMP picture",
    b"II*\x00": "TIFF picture",
    b"MM\x00*": "TIFF picture",
    b"{\\rtf": "RTF (save it as DOCX)",
    b"%!PS": "PostScript",
    b"\x1f\x8b": "gzip archive",
    b"7z\xbc\xaf": "7-Zip archive",
    b"Rar!": "RAR archive",
    b"GGUF": "GGUF model",
    b"SQLite format 3": "SQLite database",
}
PROGRAM_SUFFIXES = re.compile(
    r"\.(?:css|s[ac]ss|less|m?js|ts|py|rb|go|java|[ch]|rs|sh|cmd|bat|sql|jsonl?|ipynb|ya?ml|toml|ini|xml|njk|svg|lock|map|sha1|sha256|md5"
    r"|tex|rtf|p7s|ics|vcf)"
)
TEMPLATE_SUFFIXES = frozenset([".erb", ".liquid"])
HTML_START = re.compile(rb"\s*(?:<!--.*?-->\s*)*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)
XML_START = re.compile(rb"\s*<(?:\?xml|svg|rss|urlset)\b", re.I)
MAIL_START = re.compile(rb"(?:[A-Za-z][A-Za-z0-9-]*:[^\n]*\n(?:[ \t][^\n]*\n)*){3}")
MAIL_FIELDS = re.compile(rb"^(?:from|subject|date|message-id|received|mime-version):", re.I | re.M)
CONTROL = bytes(range(9)) + bytes(range(14, 27)) + bytes(range(28, 32))


def detect(data: bytes, name: str) -> Format:
    """Raises ParseError: empty, unsupported, encrypted, damaged or too_large (a ZIP bomb)."""
    if not data.strip(b" \t\r\n\x00\xef\xbb\xbf"):
        raise ParseError(Reason.EMPTY, "The file is empty.")
    if b"%PDF-" in data[:1024]:
        return Format.PDF
    if data.startswith(b"PK\x03\x04") or data.startswith(b"PK\x05\x06"):
        return _office(data)
    if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        raise _old_office(data)
    suffix = _suffix(name)
    if suffix == ".pdf" and not HTML_START.match(data[:2048]):
        return Format.PDF
    _refuse_binary(data, suffix)
    return _text_format(data, suffix)


def _suffix(name: str) -> str:
    path = PurePath(name.lower())
    while path.suffix in TEMPLATE_SUFFIXES:
        path = path.with_suffix("")
    return path.suffix


def _office(data: bytes) -> Format:
    members = check_archive(data)
    for folder, kind in OFFICE_PARTS.items():
        if any(member.startswith(folder) for member in members) and "[Content_Types].xml" in members:
            return kind
    if "mimetype" in members:
        raise ParseError(Reason.UNSUPPORTED, "OpenDocument and EPUB files are not read. Save it as DOCX, XLSX or PDF.")
    raise ParseError(Reason.UNSUPPORTED, "It is an archive. Unpack it into the folder.")


def _old_office(data: bytes) -> ParseError:
    if "EncryptedPackage".encode("utf-16-le") in data:
        return ParseError(Reason.ENCRYPTED, "The Office file is protected by a password or by rights management.")
    return ParseError(
        Reason.UNSUPPORTED,
        "It is of the Office formats before 2007 (or an Outlook .msg). Save it as DOCX, XLSX, PPTX or EML.",
    )


def _refuse_binary(data: bytes, suffix: str) -> None:
    for magic, what in BINARY.items():
        if data.startswith(magic) and (magic != b"BM" or suffix == ".bmp"):
            raise ParseError(Reason.UNSUPPORTED, f"It is no document but a file of another kind: {what}.")
    sample = data[:8192]
    is_wide = data[:2] in (b"\xff\xfe", b"\xfe\xff") or sample[1::2].count(0) > 0.35 * len(sample)
    num_control = len(sample) - len(sample.translate(None, CONTROL))
    if not is_wide and num_control > 0.05 * len(sample) + 2:
        raise ParseError(Reason.UNSUPPORTED, "It is a binary file of a kind that is not read.")


def _text_format(data: bytes, suffix: str) -> Format:
    head = data[:4096].replace(b"\x00", b"").removeprefix(b"\xef\xbb\xbf").removeprefix(b"\xff\xfe")
    if suffix != ".md" and HTML_START.match(head):
        return Format.HTML
    if suffix in BY_SUFFIX:
        return BY_SUFFIX[suffix]
    if PROGRAM_SUFFIXES.fullmatch(suffix) or XML_START.match(head):
        raise ParseError(Reason.UNSUPPORTED, f"{suffix or 'XML'} files are program text or data, not documents.")
    if MAIL_START.match(head.replace(b"\r\n", b"\n")) and len(MAIL_FIELDS.findall(head)) >= 2:
        return Format.MAIL
    return Format.TEXT
