"""Pictures (PNG, JPEG, GIF, BMP, TIFF with several pages): their text, where OCR is on."""

import io

from ingest.documents import ParsedDocument
from ingest.parse.layout import add_page, typography
from ingest.parse.ocr import MAX_SIDE, Ocr, Picture
from ingest.parse.outline import Outline
from ingest.parse.reasons import ParseError, Reason

MAX_PIXELS = 100_000_000
MAX_FRAMES = 1_000


def parse(data: bytes, name: str, ocr: Ocr | None = None) -> ParsedDocument:
    if ocr is None:
        raise ParseError(
            Reason.UNSUPPORTED, 'It is a picture. To read its text install housevoice[ocr] and set ingest.ocr = "auto".'
        )
    outline = Outline()
    frames = _frames(data)
    for number, frame in enumerate(frames, 1):
        outline.place(f"page {number}" if len(frames) > 1 else "")
        lines = ocr.read(frame)
        add_page(outline, lines, typography(lines))
    return outline.finish("image/*", name)


def _frames(data: bytes) -> list[Picture]:
    """One of each page of a TIFF; of a moving GIF the first. Raises ParseError (too_large) for bombs."""
    import numpy as np
    from PIL import Image, ImageOps, ImageSequence

    Image.MAX_IMAGE_PIXELS = None  # Pillow only warns at first; the check here is the stricter one.
    frames: list[Picture] = []
    with Image.open(io.BytesIO(data)) as image:
        for frame in ImageSequence.Iterator(image):
            if frame.width * frame.height > MAX_PIXELS or len(frames) >= MAX_FRAMES:
                raise ParseError(Reason.TOO_LARGE, f"It has {frame.width:,} x {frame.height:,} pixels or many pages.")
            upright = ImageOps.exif_transpose(frame).convert("RGB")
            upright.thumbnail((MAX_SIDE, MAX_SIDE))
            frames.append(np.asarray(upright)[:, :, ::-1].copy())
            if image.format != "TIFF":
                break
    return frames
