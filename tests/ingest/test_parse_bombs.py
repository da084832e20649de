"""Files made to exhaust whoever reads them. Each costs one worker its limits; the server does not grow, the next file
is read.
"""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import docx
import openpyxl
import psutil
import pytest

from ingest.documents import ParsedDocument
from ingest.parse.pool import ParseWorker
from ingest.parse.reasons import ParseError, Reason
from ingest.parse.wire import Limits

LIMITS = Limits(seconds=30, memory_bytes=400_000_000, max_file_bytes=20_000_000)
MAX_GROWTH_BYTES = 150_000_000
STOPPED = {Reason.TOO_LARGE, Reason.TIMED_OUT, Reason.DAMAGED}
MAIN = "word/document.xml"
SHEET = "xl/worksheets/sheet1.xml"

pytestmark = pytest.mark.timeout(900)


def rewritten(plain: bytes, member: str, change: Callable[[bytes], bytes]) -> bytes:
    """An Office file with one of its parts changed."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(plain)) as source, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, change(data) if name == member else data)
    return file.getvalue()


def plain_docx() -> bytes:
    file = io.BytesIO()
    docx.Document().save(file)
    return file.getvalue()


def plain_xlsx() -> bytes:
    file = io.BytesIO()
    book = openpyxl.Workbook()
    book.active.append(["Name", "Price"])
    book.save(file)
    return file.getvalue()


def docx_paragraphs() -> bytes:
    """1 MB whose tree takes gigabytes: python-docx needed 3.8 GB for 4.5 million paragraphs."""
    return rewritten(plain_docx(), MAIN, lambda xml: xml.replace(b"<w:sectPr", b"<w:p/>" * 3_000_000 + b"<w:sectPr", 1))


def docx_nested() -> bytes:
    table = b"<w:tbl><w:tr><w:tc>"
    closed = b"</w:tc></w:tr></w:tbl>"
    return rewritten(
        plain_docx(), MAIN, lambda xml: xml.replace(b"<w:sectPr", table * 50_000 + closed * 50_000 + b"<w:sectPr", 1)
    )


def sheet_with(rows: bytes) -> bytes:
    head = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    return rewritten(plain_xlsx(), SHEET, lambda _: head + rows + b"</sheetData></worksheet>")


def xlsx_wide() -> bytes:
    """Every row has a cell in the last column that there is."""
    return sheet_with(b"".join(b'<row r="%d"><c r="XFD%d"><v>1</v></c></row>' % (n, n) for n in range(1, 20_001)))


def xlsx_far() -> bytes:
    """The only row is number two billion."""
    return sheet_with(b'<row r="2000000000"><c r="A2000000000"><v>1</v></c></row>')


def xlsx_shared_strings() -> bytes:
    """Five million strings that no cell uses: skipped where the machine is fast enough."""
    head = b'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    strings = head + b"<si><t>x</t></si>" * 5_000_000 + b"</sst>"
    return rewritten(plain_xlsx(), "xl/sharedStrings.xml", lambda _: strings)


def zip_ratio() -> bytes:
    return rewritten(plain_docx(), MAIN, lambda xml: xml + b"\0" * 100_000_000)


def zip_overlap() -> bytes:
    """A thousand names for the same packed bytes: each entry of the directory points at the first file."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    text = bytes(range(256)) * 400
    data = packed.compress(text) + packed.flush()
    numbers = (zlib.crc32(text), len(data), len(text))
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, *numbers, 5, 0) + b"word/" + data
    names = [b"[Content_Types].xml", *(b"word/%d" % number for number in range(1_000))]
    entry = struct.Struct("<4s6H3I5H2I")
    entries = b"".join(
        entry.pack(b"PK\1\2", 20, 20, 0, 8, 0, 0, *numbers, len(name), 0, 0, 0, 0, 0, 0) + name for name in names
    )
    count = len(names)
    return local + entries + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(entries), len(local), 0)


def zip_nested() -> bytes:
    """An archive in an archive, ten deep, and the innermost unpacks to 40 MB: nobody opens what is inside."""
    inner = b" " * 40_000_000
    for _ in range(10):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("word/inner.zip", inner)
        inner = file.getvalue()
    return inner


def pdf_of(objects: list[bytes]) -> bytes:
    """Numbered from 1, the first the catalog. pdfium finds objects without a table of their places."""
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % (number, text) for number, text in enumerate(objects, 1))
    return b"%PDF-1.4\n" + body + b"trailer\n<< /Root 1 0 R /Size %d >>\n" % (len(objects) + 1)


CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"


def pdf_loop() -> bytes:
    return pdf_of([CATALOG, b"<< /Type /Pages /Count 2 /Kids [2 0 R 2 0 R] >>"])


def pdf_deep_tree() -> bytes:
    nodes = [b"<< /Type /Pages /Count 1 /Kids [%d 0 R] >>" % number for number in range(3, 100_003)]
    return pdf_of([CATALOG, *nodes, b"<< /Type /Page /MediaBox [0 0 9 9] >>"])


def pdf_million_pages() -> bytes:
    kids = b"3 0 R " * 1_000_000
    return pdf_of([CATALOG, b"<< /Type /Pages /Count 1000000 /Kids [%s] >>" % kids, b"<< /Type /Page >>"])


def pdf_stream() -> bytes:
    """A page whose content unpacks to 100 MB."""
    packed = zlib.compress(b"(a) Tj " * 15_000_000, 9)
    content = b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed)
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R >>"
    return pdf_of([CATALOG, b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>", page, content])


def html_deep() -> bytes:
    return b"<html><p>top</p>" + b"<div>" * 1_000_000


def html_lists() -> bytes:
    return b"<html><p>top</p>" + b"<ul><li>x" * 200_000


def markdown_brackets() -> bytes:
    return b"[" * 200_000 + b"](" * 200_000


def mail_deep() -> bytes:
    head = b"Subject: x\nMIME-Version: 1.0\nContent-Type: message/rfc822\n\n"
    return head * 5_000 + b"Subject: in\n\nhello\n"


def csv_columns() -> bytes:
    return b",".join(b"c%d" % n for n in range(1_000_000)) + b"\n" + b"1," * 999_999 + b"1\n"


def one_line() -> bytes:
    return b"word " * 3_900_000


BOMBS = {
    "paragraphs.docx": docx_paragraphs,
    "nested.docx": docx_nested,
    "wide.xlsx": xlsx_wide,
    "far.xlsx": xlsx_far,
    "ratio.docx": zip_ratio,
    "overlap.docx": zip_overlap,
    "loop.pdf": pdf_loop,
    "deep.pdf": pdf_deep_tree,
    "pages.pdf": pdf_million_pages,
    "stream.pdf": pdf_stream,
    "deep.eml": mail_deep,
    "columns.csv": csv_columns,
    "line.txt": one_line,
}


def outcome(worker: ParseWorker, path: Path) -> ParsedDocument | ParseError:
    try:
        return worker.parse(path, path.name).document
    except ParseError as error:
        return error


def survives(worker: ParseWorker, folder: Path) -> bool:
    good = folder / "good.txt"
    good.write_text("still here")
    return worker.parse(good, good.name).document.blocks[0].text == "still here"


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_ends_with_a_reason_and_the_next_file_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(BOMBS[name]())
    assert path.stat().st_size < LIMITS.max_file_bytes
    before = psutil.Process().memory_info().rss
    worker = ParseWorker(LIMITS)
    found = outcome(worker, path)
    grown = psutil.Process().memory_info().rss - before
    assert isinstance(found, ParseError)
    assert found.reason in STOPPED | {Reason.NO_TEXT}
    assert grown < MAX_GROWTH_BYTES
    assert survives(worker, tmp_path)
    worker.close()


@pytest.mark.parametrize("build", [html_deep, html_lists, markdown_brackets, zip_nested, xlsx_shared_strings])
def test_what_is_only_strange_gives_text_or_a_reason(tmp_path: Path, build: Callable[[], bytes]) -> None:
    path = tmp_path / f"strange.{build.__name__.split('_')[0].replace('markdown', 'md')}"
    path.write_bytes(build())
    worker = ParseWorker(LIMITS)
    found = outcome(worker, path)
    assert isinstance(found, ParsedDocument) or found.reason in {*STOPPED, Reason.UNSUPPORTED}
    assert survives(worker, tmp_path)
    worker.close()


def test_a_gigabyte_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "big.txt"
    with path.open("wb") as file:
        file.write(b"word ")
        os.truncate(file.fileno(), 1_000_000_000)
    worker = ParseWorker(LIMITS)
    found = outcome(worker, path)
    worker.close()
    assert isinstance(found, ParseError)
    assert found.reason == Reason.TOO_LARGE


def test_ten_thousand_attachments_cost_no_more_than_a_hundred(tmp_path: Path) -> None:
    path = tmp_path / "many.eml"
    part = b'--b\nContent-Type: text/plain\nContent-Disposition: attachment; filename="a.txt"\n\nhello\n'
    path.write_bytes(b"Subject: many\nContent-Type: multipart/mixed; boundary=b\n\n" + part * 10_000 + b"--b--\n")
    worker = ParseWorker(Limits(120, LIMITS.memory_bytes, LIMITS.max_file_bytes))
    found = outcome(worker, path)
    worker.close()
    assert isinstance(found, ParsedDocument)
    assert "9,900 more (not read)" in found.blocks[0].text


LAUGHS = b"<!DOCTYPE x [<!ENTITY a0 'ha'>%s]>" % b"".join(
    b"<!ENTITY a%d '%s'>" % (number, b"&a%d;" % (number - 1) * 10) for number in range(1, 11)
)


@pytest.mark.parametrize("kind", ["docx", "xlsx"])
@pytest.mark.parametrize("trick", ["file", "laughs"])
def test_entities_are_not_expanded(tmp_path: Path, kind: str, trick: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("hv-secret")
    head = LAUGHS if trick == "laughs" else b"<!DOCTYPE x [<!ENTITY a10 SYSTEM 'file://%s'>]>" % os.fsencode(secret)
    if kind == "docx":
        data = rewritten(
            plain_docx(), MAIN, lambda xml: entity(xml, head, b"<w:sectPr", b"<w:p><w:r><w:t>%s</w:t></w:r></w:p>")
        )
    else:
        cell = b'<row r="9"><c r="A9" t="inlineStr"><is><t>%s</t></is></c></row>'
        data = rewritten(plain_xlsx(), SHEET, lambda xml: entity(xml, head, b"</sheetData>", cell))
    path = tmp_path / f"entities.{kind}"
    path.write_bytes(data)
    worker = ParseWorker(LIMITS)
    found = outcome(worker, path)
    worker.close()
    if isinstance(found, ParsedDocument):
        text = " ".join(block.text for block in found.blocks)
        assert "hv-secret" not in text
        assert len(text) < 1_000
    else:
        assert found.reason in STOPPED | {Reason.NO_TEXT}


def entity(xml: bytes, head: bytes, before: bytes, element: bytes) -> bytes:
    """A document type in front of the root, and an element that uses its entity."""
    start = xml.index(b"?>") + 2 if xml.startswith(b"<?xml") else 0
    return xml[:start] + head + xml[start:].replace(before, element % b"&a10;" + before, 1)
