"""Pictures of text: how pieces become lines, and, where the optional engine is installed, what it really reads."""

import io
from importlib.util import find_spec
from pathlib import Path

import fpdf
import pytest
from PIL import Image, ImageDraw, ImageFont

from config.settings import IngestSettings
from ingest.parse.limits import limits_of
from ingest.parse.ocr import Box, lines_of
from ingest.parse.pool import ParseWorker
from ingest.parse.reasons import ParseError, Reason
from ingest.parse.wire import Limits

LIMITS = Limits(seconds=60, memory_bytes=2_000_000_000, max_file_bytes=10_000_000, ocr_seconds=600)
needs_engine = pytest.mark.skipif(find_spec("rapidocr") is None, reason="housevoice[ocr] is not installed")


def test_pieces_side_by_side_are_one_line() -> None:
    pieces = [(Box(300, 12, 32), "31 EUR"), (Box(10, 52, 72), "Pod 28"), (Box(10, 10, 30), "Pod 12")]
    lines = lines_of(pieces)
    assert [line.text for line in lines] == ["Pod 12   31 EUR", "Pod 28"]
    assert lines[0].top > lines[1].top
    assert {line.height for line in lines} == {20.0}


def test_no_pieces_are_no_lines() -> None:
    assert lines_of([]) == []


def test_pictures_are_left_alone_unless_the_settings_say_otherwise(ingest_settings: IngestSettings) -> None:
    assert ingest_settings.ocr == "off"
    assert limits_of(ingest_settings).ocr_seconds == 0
    is_installed = find_spec("rapidocr") is not None
    assert bool(limits_of(ingest_settings.model_copy(update={"ocr": "auto"})).ocr_seconds) is is_installed


def letter() -> Image.Image:
    image = Image.new("RGB", (1_000, 400), "white")
    font = ImageFont.load_default(size=40)
    ImageDraw.Draw(image).text((40, 60), "The pump runs at 43 degrees.", fill="black", font=font)
    ImageDraw.Draw(image).text((40, 220), "Check it every nine weeks.", fill="black", font=font)
    return image


@needs_engine
@pytest.mark.timeout(1_800)
def test_scanned_page_and_picture_are_read_in_a_worker(tmp_path: Path) -> None:
    scan, picture = tmp_path / "scan.pdf", tmp_path / "letter.png"
    pdf = fpdf.FPDF()
    pdf.add_page()
    pdf.image(letter(), 10, 10, 190)
    scan.write_bytes(bytes(pdf.output()))
    letter().save(picture)
    worker = ParseWorker(LIMITS)
    read = [worker.parse(path, path.name).document for path in (scan, picture)]
    worker.close()
    for document in read:
        text = " ".join(block.text for block in document.blocks)
        assert "The pump runs at 43 degrees" in text
        assert "every nine weeks" in text
    assert read[0].blocks[0].location == "page 1"


@needs_engine
@pytest.mark.timeout(1_800)
def test_picture_without_text_says_so(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (300, 300), "white").save(file, "PNG")
    path = tmp_path / "blank.png"
    path.write_bytes(file.getvalue())
    worker = ParseWorker(LIMITS)
    with pytest.raises(ParseError) as caught:
        worker.parse(path, path.name)
    worker.close()
    assert caught.value.reason == Reason.NO_TEXT
