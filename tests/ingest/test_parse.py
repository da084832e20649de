"""Each format as a tiny file: what text, headings and locations come out, and which reason is given otherwise."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import docx
import fpdf
import openpyxl
import pptx
import pytest

from ingest.documents import Block, ParsedDocument
from ingest.parse.dispatch import parse
from ingest.parse.layout import join_hyphens
from ingest.parse.outline import MAX_CHARACTERS, Outline, prettify
from ingest.parse.reasons import ParseError, Reason

SAMPLES = Path("config/sample/documents")


def texts(document: ParsedDocument) -> list[str]:
    return [block.text for block in document.blocks]


def reason_for(data: bytes, name: str) -> str:
    with pytest.raises(ParseError) as caught:
        parse(data, name)
    return caught.value.reason


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()


def test_markdown_headings_lists_and_tables() -> None:
    source = (
        "---\ntitle: 'Travel policy'\nkeywords: x\n---\nIntro with a [link](http://x.example).\n\n## Trains\n\n"
        "1. Book early\n2. Second class\n   - first class above 4 h\n\n| From | Price |\n|---|---|\n| Bern | 12 |\n"
    )
    document = parse(source.encode(), "travel.md")
    assert document.title == "Travel policy"
    assert document.blocks == (
        Block("Intro with a link."),
        Block("1. Book early\n2. Second class\n  - first class above 4 h", ("Trains",)),
        Block("From: Bern; Price: 12", ("Trains",), is_table=True),
    )


@pytest.mark.parametrize(
    "head",
    [
        "---\ntitle: Leave\ntags: [hr, 'time off']\ndate: 2026-03-01\n---\n",
        "---\ntitle: Leave\nTags:\n  - hr\n  - time off\ndate: 2026-03-01T08:00:00Z\n---\n",
        '+++\ntitle = "Leave"\nkeywords = ["hr", "time off"]\ndate = 2026-03-01\n+++\n',
    ],
)
def test_front_matter_is_read_and_not_shown(head: str) -> None:
    document = parse(f"{head}\nTwenty-six days.\n".encode("utf-8-sig"), "leave.md")
    assert (document.title, document.tags, document.date) == ("Leave", ("hr", "time off"), "2026-03-01")
    assert texts(document) == ["Twenty-six days."]


def test_text_between_two_rules_is_no_front_matter() -> None:
    assert texts(parse(b"---\nRead this.\n\n---\n\nThen that.\n", "a.md")) == ["Read this.", "Then that."]


def test_erb_and_liquid_tags_go_but_not_in_code() -> None:
    source = (
        '---\ntitle: Alerts\n---\n# <%= current_page.data.title %>\n\n{% alert %}\nBe [calm]({% page "/a" %}).\n'
        "{% endalert %}\n\n```\n{% raw %}\n```\n"
    )
    document = parse(source.encode(), "alerts.html.md.erb")
    assert document.title == "Alerts"
    assert texts(document) == ["Be calm.", "{% raw %}"]
    assert {block.heading_path for block in document.blocks} == {()}


def test_html_keeps_the_readable_part() -> None:
    source = (
        "<html><head><title>T</title><script>x()</script></head><body><nav>Menu</nav><h1>Rooms</h1><h2>Small</h2>"
        "<p>Wren:<br>3 seats</p><ul><li>no screen<ul><li>really</li></ul></li></ul>"
        "<table><tr><th>Room</th><th>Seats</th></tr><tr><td>Wren</td><td>3</td></tr></table></body></html>"
    )
    document = parse(source.encode(), "rooms.html")
    assert document.title == "Rooms"
    assert texts(document) == ["Wren: 3 seats", "- no screen\n  - really", "Room: Wren; Seats: 3"]
    assert {block.heading_path for block in document.blocks} == {("Small",)}


def test_what_stands_around_a_page_is_left_out() -> None:
    source = (
        "<body><header><a>Acme</a> <a>Shop</a></header><div role=navigation>Home</div><div class='breadcrumb'>Up</div>"
        "<header><h1>Rooms</h1></header><p>Wren</p><p hidden>draft</p><div style='display: none'>secret</div>"
        "<div role=tabpanel hidden>Tab two</div><aside>Hint</aside><footer>2026</footer></body>"
    )
    assert texts(parse(source.encode(), "rooms.html")) == ["Wren", "Tab two", "Hint"]


def test_layout_tables_are_read_cell_by_cell_and_captions_are_kept() -> None:
    source = (
        "<table><tr><td>Left</td><td><table><caption>Seats</caption><tr><th>Room</th><th>N</th></tr>"
        "<tr><td>Wren</td><td>3</td></tr></table></td></tr></table>"
    )
    document = parse(source.encode(), "rooms.html")
    assert texts(document) == ["Left", "Seats", "Room: Wren; N: 3"]


def test_text_headings_and_wrapped_lines() -> None:
    source = "MEETING ROOMS\n=============\n\nBOOKING\n" + "A booking that nobody has checked in to is released\n" * 2
    document = parse(source.replace("released", "released again and again").encode(), "rooms.txt")
    assert document.title == "MEETING ROOMS"
    assert [block.heading_path for block in document.blocks] == [("BOOKING",)]
    assert "again A booking" in document.blocks[0].text


def test_pdf_pages_and_headings() -> None:
    pdf = fpdf.FPDF()
    for number in (1, 2):
        pdf.add_page()
        pdf.set_font("helvetica", size=20)
        pdf.cell(0, 14, f"Chapter {number}", new_x="LMARGIN", new_y="NEXT")
        pdf.set_font("helvetica", size=11)
        pdf.multi_cell(0, 6, "The pump runs at 43 degrees and is checked every nine weeks. " * 4)
    document = parse(bytes(pdf.output()), "pump_manual.pdf")
    assert [(block.heading_path, block.location) for block in document.blocks] == [
        (("Chapter 1",), "page 1"),
        (("Chapter 2",), "page 2"),
    ]
    assert document.blocks[0].text.count("every nine weeks.") == 4
    assert document.title == "Pump manual"


def test_words_divided_at_a_line_end_are_whole_again() -> None:
    assert join_hyphens(["the col-", "umn of a multi-", "agent plan"], {"multi-agent"}) == [
        "the column",
        "of a multi-agent",
        "plan",
    ]


def test_docx_paragraphs_lists_and_tables_in_order() -> None:
    file = docx.Document()
    file.add_heading("Washing", 0)
    file.add_heading("Steps", 1)
    file.add_paragraph("Rinse", style="List Number")
    file.add_paragraph("Dry", style="List Number")
    table = file.add_table(rows=2, cols=2)
    for cell, text in zip([*table.rows[0].cells, *table.rows[1].cells], ["Agent", "Dose", "Foamer", "30"], strict=True):
        cell.text = text
    file.add_paragraph("Done.")
    document = parse(saved(file.save), "washing.docx")
    assert document.title == "Washing"
    assert texts(document) == ["- Rinse\n- Dry", "Agent: Foamer; Dose: 30", "Done."]
    assert {block.heading_path for block in document.blocks} == {("Steps",)}


def test_pptx_slides_are_locations_and_notes_are_kept() -> None:
    file = pptx.Presentation()
    for title in ("Launch", "Dates"):
        slide = file.slides.add_slide(file.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = f"{title} body"
    slide.notes_slide.notes_text_frame.text = "Say it slowly"
    document = parse(saved(file.save), "launch.pptx")
    assert document.title == "Launch"
    assert [(block.text, block.heading_path, block.location) for block in document.blocks] == [
        ("Launch body", (), "slide 1"),
        ("Dates body", ("Dates",), "slide 2"),
        ("Notes: Say it slowly", ("Dates",), "slide 2, notes"),
    ]


def test_xlsx_regions_know_their_cells_and_captions_are_headings() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Prices"
    for row in (["Price list"], ["Article", "Share"], ["Pod", 0.25], [], ["Ice", 0.5], ["Gel", 1]):
        sheet.append(row)
    for cell in sheet["B"]:
        cell.number_format = "0%"
    document = parse(saved(book.save), "prices.xlsx")
    assert [(block.text, block.location) for block in document.blocks] == [
        ("Article: Pod; Share: 25%", "Prices!A1:B3"),
        ("Article: Ice; Share: 50%\nArticle: Gel; Share: 100%", "Prices!A5:B6"),
    ]
    assert document.blocks[0].heading_path == ("Price list",)


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_delimited_files_by_their_own_mark(mark: str) -> None:
    source = f'Name{mark}Phone\nIda{mark}"4{mark}5"\n'
    document = parse(source.encode(), "phones.csv")
    assert texts(document) == [f"Name: Ida; Phone: 4{mark if mark != chr(9) else ' '}5"]
    assert document.blocks[0].location == "rows 1-2"


def test_content_counts_more_than_the_suffix() -> None:
    assert parse(b"<!DOCTYPE html><p>hello</p>", "page.txt").media_type == "text/html"
    assert parse(b"Ida wrote: hello", "letter").media_type == "text/plain"
    mail = b"From: a@x.example\nTo: b@x.example\nSubject: hi\n\nhello\n"
    assert parse(mail, "letter").media_type == "message/rfc822"


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (b"", "a.md", Reason.EMPTY),
        (b" \n\x00\n", "a.txt", Reason.EMPTY),
        (b"<p> </p>", "a.html", Reason.NO_TEXT),
        (b"\x89PNG\r\n\x1a\n", "a.png", Reason.UNSUPPORTED),
        (bytes(range(256)) * 20, "a.bin", Reason.UNSUPPORTED),
        (b"body { color: red }", "a.css", Reason.UNSUPPORTED),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "a.doc", Reason.UNSUPPORTED),
        (b"%PDF-1.7\nbroken", "a.pdf", Reason.DAMAGED),
        (b"PK\x03\x04 cut off", "a.docx", Reason.DAMAGED),
    ],
)
def test_reasons(data: bytes, name: str, reason: Reason) -> None:
    assert reason_for(data, name) == reason


def test_pdf_with_password_is_encrypted() -> None:
    pdf = fpdf.FPDF()
    pdf.set_encryption(owner_password="owner", user_password="user")
    pdf.add_page()
    assert reason_for(bytes(pdf.output()), "a.pdf") == Reason.ENCRYPTED


def test_pdf_without_text_says_so() -> None:
    pdf = fpdf.FPDF()
    pdf.add_page()
    pdf.rect(10, 10, 50, 50)
    assert reason_for(bytes(pdf.output()), "a.pdf") == Reason.NO_TEXT


def test_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", b"\0" * 60_000_000)
    assert reason_for(file.getvalue(), "a.docx") == Reason.TOO_LARGE


def test_one_endless_line_is_bounded() -> None:
    assert reason_for(b"word " * (MAX_CHARACTERS // 4), "a.txt") == Reason.TOO_LARGE


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_encodings_are_recognised(encoding: str) -> None:
    text = "Die Prüfung für Kühlgeräte beträgt 43 Euro, größere Geräte kosten das Zweifache; Überstunden zählen.\n" * 3
    assert "Prüfung für Kühlgeräte beträgt" in texts(parse(text.encode(encoding), "preise.txt"))[0]


def test_declared_encoding_of_a_page() -> None:
    source = '<html><head><meta charset="iso-8859-2"></head><body><p>Žluťoučký kůň</p></body></html>'
    assert texts(parse(source.encode("iso-8859-2"), "a.html")) == ["Žluťoučký kůň"]


def test_emoji_and_stray_control_characters() -> None:
    assert texts(parse("Alarm 🚨 at\x00 gate\x1b[31m 7 👩‍🔧".encode(), "a.txt"))[0].startswith(
        "Alarm 🚨 at gate[31m 7 👩"
    )


def test_deeply_nested_markup_is_survived() -> None:
    source = b"<div>" * 20_000 + b"deep" + b"</div>" * 20_000
    document = parse(b"<html><p>top</p>" + source, "a.html")
    assert document.blocks[0].text == "top"


def test_lone_heading_is_not_lost() -> None:
    document = parse(b"# Title\n\n## Is parking free?\n\n## Is lunch free?\n\nNo.\n", "faq.md")
    assert texts(document) == ["Is parking free?", "No."]


def test_table_without_header_keeps_its_rows() -> None:
    outline = Outline()
    outline.table([["1", "2"], ["3", "4"]])
    assert outline.finish("text/csv", "x.csv").blocks[0].text == "1 | 2\n3 | 4"


def test_title_from_a_file_name() -> None:
    assert prettify("sub/travel_policy-2026.html.md.erb") == "Travel policy 2026"
    assert prettify("carrier-cut-offs.csv") == "Carrier cut offs"
    assert prettify("carrier_cut-offs.csv") == "Carrier cut-offs"
    assert prettify("2026-01-14 all hands.txt") == "2026-01-14 all hands"


@pytest.mark.parametrize("path", sorted(SAMPLES.rglob("*.*")), ids=lambda path: path.name)
def test_sample_documents_have_title_and_text(path: Path) -> None:
    document = parse(path.read_bytes(), path.name)
    assert document.title
    assert sum(len(block.text) for block in document.blocks) > 300
