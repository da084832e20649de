"""Mails: headers, body, attachments one level deep, and what happens to attachments that cannot be read."""

import email.message

from ingest.documents import ParsedDocument
from ingest.parse.dispatch import parse
from ingest.parse.mail import MAX_ATTACHMENTS
from ingest.parse.reasons import Reason


def texts(document: ParsedDocument) -> list[str]:
    return [block.text for block in document.blocks]


def mail(**parts: str) -> bytes:
    message = email.message.EmailMessage()
    message["From"], message["Subject"], message["To"] = "Ida <ida@x.example>", "Gäskets", "all@x.example"
    message.set_content(parts["body"])
    if "attached" in parts:
        message.add_attachment(parts["attached"].encode(), maintype="text", subtype="markdown", filename="torque.md")
    return message.as_bytes()


def test_mail_headers_body_and_attachment() -> None:
    document = parse(mail(body="Hello all.\n", attached="# Torque\n\n1.7 Nm\n"), "x.eml")
    assert document.title == "Gäskets"
    header, body, attached = document.blocks
    assert "From: Ida <ida@x.example>" in header.text
    assert "Attachments: torque.md" in header.text
    assert body.text == "Hello all."
    assert (attached.text, attached.location) == ("1.7 Nm", "attachment torque.md")


def test_endless_subject_is_cut() -> None:
    document = parse(b"From: a@x.example\nSubject: " + b"word " * 20_000 + b"\n\nhello\n", "x.eml")
    assert len(document.title) == 200


def test_attached_mails_are_not_opened_twice() -> None:
    inner = mail(body="inner body\n", attached="secret depth\n")
    message = email.message.EmailMessage()
    message["Subject"] = "outer"
    message.set_content("outer body\n")
    message.add_attachment(inner, maintype="application", subtype="octet-stream", filename="inner.eml")
    all_text = "\n".join(texts(parse(message.as_bytes(), "outer.eml")))
    assert "inner body" in all_text
    assert "secret depth" not in all_text


def test_an_attachment_that_cannot_be_read_costs_only_itself() -> None:
    message = email.message.EmailMessage()
    message["Subject"], message["Date"] = "Offer", "Tue, 03 Mar 2026 10:00:00 +0100"
    message.set_content("See the offer.\n")
    message.add_attachment(b"%PDF-1.7 broken", maintype="application", subtype="pdf", filename="offer.pdf")
    message.add_attachment(b"\x89PNG\r\n", maintype="image", subtype="png", filename="logo.png")
    message.add_attachment(b"Article,Price\nPod,31\n", maintype="text", subtype="csv", filename="prices.csv")
    document = parse(message.as_bytes(), "offer.eml")
    assert texts(document)[1:] == ["See the offer.", "Article: Pod; Price: 31"]
    assert "Attachments: offer.pdf (not read: damaged), logo.png, prices.csv" in document.blocks[0].text
    assert document.blocks[2].location == "attachment prices.csv, rows 1-2"
    assert [(part.path, part.reason) for part in document.unread] == [("attachment offer.pdf", Reason.DAMAGED)]
    assert document.date == "2026-03-03"


def test_a_mail_that_was_forwarded_as_such_is_an_attachment() -> None:
    inner = email.message.EmailMessage()
    inner["Subject"] = "Torque"
    inner.set_content("1.7 Nm\n")
    message = email.message.EmailMessage()
    message["Subject"] = "Fwd"
    message.set_content("See below.\n")
    message.add_attachment(inner)
    document = parse(message.as_bytes(), "fwd.eml")
    assert "1.7 Nm" in texts(document)
    assert document.blocks[-1].location == "attachment Torque.eml"


def test_blank_plain_version_gives_way_to_the_html_one() -> None:
    message = email.message.EmailMessage()
    message["Subject"] = "News"
    message.set_content(" \n")
    message.add_alternative("<p>The gate moves.</p>", subtype="html")
    assert texts(parse(message.as_bytes(), "news.eml"))[1:] == ["The gate moves."]


def test_attachments_beyond_the_limit_are_counted() -> None:
    message = email.message.EmailMessage()
    message["Subject"] = "All of it"
    message.set_content("Many.\n")
    for number in range(MAX_ATTACHMENTS + 5):
        message.add_attachment(f"text {number}".encode(), maintype="text", subtype="plain", filename=f"{number}.txt")
    document = parse(message.as_bytes(), "many.eml")
    assert "5 more (not read)" in document.blocks[0].text
    assert document.unread[-1].reason == Reason.TOO_LARGE
