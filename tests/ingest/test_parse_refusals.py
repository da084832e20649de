"""Protected, older and scanned files: which reason they are given, and what the owner is told to do."""

import io

import fpdf
import pytest
from PIL import Image

from ingest.parse.compound import MAGIC
from ingest.parse.dispatch import parse
from ingest.parse.pdf import page_numbers
from ingest.parse.reasons import ParseError, Reason


def compound_file(*names: str) -> bytes:
    """A header and a directory of entries as [MS-CFB] 2.6 has them: 64 bytes of name in UTF-16, then 64 of the rest."""
    entries = [name.encode("utf-16-le").ljust(64, b"\0") + bytes(64) for name in ("Root Entry", *names)]
    return MAGIC.ljust(512, b"\0") + b"".join(entries)


def refusal(data: bytes, name: str) -> ParseError:
    with pytest.raises(ParseError) as caught:
        parse(data, name)
    return caught.value


@pytest.mark.parametrize(
    ("names", "reason", "hint"),
    [
        (("EncryptedPackage", "StrongEncryptionTransform"), Reason.ENCRYPTED, "password"),
        (("EncryptedPackage", "\x06DataSpaces", "DRMEncryptedTransform"), Reason.RIGHTS_MANAGED, "rights management"),
        (("\tDRMContent",), Reason.RIGHTS_MANAGED, "rights management"),
        (("WordDocument", "1Table"), Reason.UNSUPPORTED, ".docx"),
        (("Workbook",), Reason.UNSUPPORTED, ".xlsx"),
        (("PowerPoint Document",), Reason.UNSUPPORTED, ".pptx"),
        (("__properties_version1.0",), Reason.UNSUPPORTED, ".eml"),
        ((), Reason.UNSUPPORTED, ".docx"),
    ],
)
def test_compound_files_by_what_is_in_them(names: tuple[str, ...], reason: Reason, hint: str) -> None:
    error = refusal(compound_file(*names), "a.docx")
    assert error.reason == reason
    assert hint in error.message


@pytest.mark.parametrize("head", [b".pfile\x02\x00", b"\x76\xe8\x04\x60\xc4\x11\xe3\x86"])
def test_files_in_a_wrapper_of_rights_management(head: bytes) -> None:
    assert refusal(head + bytes(range(256)), "plan.pdf").reason == Reason.RIGHTS_MANAGED


def test_cover_of_a_protected_pdf_is_not_taken_for_the_document() -> None:
    pdf = fpdf.FPDF()
    pdf.add_page()
    pdf.set_font("helvetica")
    pdf.cell(0, 10, "This document is protected. Open it in a viewer that supports it.")
    data = bytes(pdf.output()).replace(b"/Type /Catalog", b"/Type /Catalog /EP << /Type /EncryptedPayload >>")
    assert refusal(data, "plan.pdf").reason == Reason.RIGHTS_MANAGED


def scanned_page(pdf: fpdf.FPDF) -> None:
    pdf.add_page()
    pdf.image(Image.new("RGB", (200, 280), "grey"), 0, 0, 210, 297)


def test_scanned_pdf_says_how_to_read_it() -> None:
    pdf = fpdf.FPDF()
    scanned_page(pdf)
    error = refusal(bytes(pdf.output()), "a.pdf")
    assert error.reason == Reason.SCANNED
    assert "install housevoice[ocr]" in error.message
    assert "ingest.ocr" in error.message


def test_scanned_pages_among_others_are_told() -> None:
    pdf = fpdf.FPDF()
    pdf.add_page()
    pdf.set_font("helvetica")
    pdf.cell(0, 10, "The pump runs at 43 degrees.")
    scanned_page(pdf)
    scanned_page(pdf)
    document = parse(bytes(pdf.output()), "a.pdf")
    assert document.blocks[0].text == "The pump runs at 43 degrees."
    assert [(part.path, part.reason) for part in document.unread] == [("pages 2-3", Reason.SCANNED)]


def test_picture_says_how_to_read_it() -> None:
    file = io.BytesIO()
    Image.new("RGB", (20, 20)).save(file, "PNG")
    error = refusal(file.getvalue(), "a.png")
    assert error.reason == Reason.UNSUPPORTED
    assert "install housevoice[ocr]" in error.message


def test_page_numbers_in_runs() -> None:
    assert page_numbers([3]) == "page 3"
    assert page_numbers([2, 3, 4, 7]) == "pages 2-4, 7"
