"""What a file is, by its content first and its name second."""

import re
from enum import StrEnum
from pathlib import PurePath

from ingest.parse import compound
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
    PICTURE = "picture"


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
PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\x00", b"MM\x00*")
RIGHTS_MANAGED = (b".pfile", b"\x76\xe8\x04\x60\xc4\x11\xe3\x86")
"""Files of Microsoft's protection: any file in its generic wrapper, and the body of a protected mail."""

BINARY = {
    b"{\\rtf": "RTF (save it as DOCX)",
    b"%!PS": "PostScript",
    b"\x1f\x8b": "gzip archive",
    b"7z\xbc\xaf": "7-Zip archive",
    b"Rar!": "RAR archive",
    b"GGUF": "GGUF model",
    b"SQLite format 3": "SQLite database",
}
OLD_SUFFIXES = {".doc": " Save it as .docx.", ".xls": " Save it as .xlsx.", ".ppt": " Save it as .pptx."}
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
    """Raises ParseError: empty, unsupported, encrypted, rights_managed, damaged or too_large (a ZIP bomb)."""
    if not data.strip(b" \t\r\n\x00\xef\xbb\xbf"):
        raise ParseError(Reason.EMPTY, "The file is empty.")
    if b"%PDF-" in data[:1024]:
        return Format.PDF
    if data.startswith(b"PK\x03\x04") or data.startswith(b"PK\x05\x06"):
        return _office(data)
    if data.startswith(compound.MAGIC):
        raise compound.why_not(data)
    if data.startswith(RIGHTS_MANAGED):
        raise ParseError(Reason.RIGHTS_MANAGED, "It is protected by rights management. Save a copy without protection.")
    suffix = _suffix(name)
    if data.startswith(PICTURES) or (data.startswith(b"BM") and suffix == ".bmp"):
        return Format.PICTURE
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


def _refuse_binary(data: bytes, suffix: str) -> None:
    for magic, what in BINARY.items():
        if data.startswith(magic):
            raise ParseError(Reason.UNSUPPORTED, f"It is no document but a file of another kind: {what}.")
    sample = data[:8192]
    is_wide = data[:2] in (b"\xff\xfe", b"\xfe\xff") or sample[1::2].count(0) > 0.35 * len(sample)
    num_control = len(sample) - len(sample.translate(None, CONTROL))
    if not is_wide and num_control > 0.05 * len(sample) + 2:
        hint = OLD_SUFFIXES.get(suffix, "")
        raise ParseError(Reason.UNSUPPORTED, f"It is a binary file of a kind that is not read.{hint}")


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
