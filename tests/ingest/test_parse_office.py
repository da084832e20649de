"""Word documents: text that does not stand in ordinary runs."""

import io

import docx
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml import parse_xml

from ingest.documents import ParsedDocument
from ingest.parse.dispatch import parse

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
MATH = "http://schemas.openxmlformats.org/officeDocument/2006/math"
FOOTNOTES = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"


def parsed(file: docx.document.Document) -> ParsedDocument:
    saved = io.BytesIO()
    file.save(saved)
    return parse(saved.getvalue(), "limit.docx")


def test_formulas_are_not_lost() -> None:
    file = docx.Document()
    paragraph = file.add_paragraph("The limit is ")
    paragraph._p.append(parse_xml(f'<m:oMath xmlns:m="{MATH}"><m:r><m:t>v=42</m:t></m:r></m:oMath>'))
    assert parsed(file).blocks[0].text == "The limit is v=42"


def test_footnotes_stand_where_they_are_referred_to() -> None:
    file = docx.Document()
    run = file.add_paragraph("Lids are free").add_run()
    run._r.append(parse_xml(f'<w:footnoteReference xmlns:w="{WORD}" w:id="2"/>'))
    file.paragraphs[0].add_run(".")
    note = (
        f'<w:footnotes xmlns:w="{WORD}"><w:footnote w:id="2"><w:p><w:r><w:t>Until March.</w:t></w:r></w:p></w:footnote>'
    )
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.footnotes+xml"
    blob = f"{note}</w:footnotes>".encode()
    file.part.relate_to(Part(PackURI("/word/footnotes.xml"), kind, blob, file.part.package), FOOTNOTES)
    assert parsed(file).blocks[0].text == "Lids are free [Until March.]."
