"""The limits of parse workers, from the settings."""

from importlib.util import find_spec

from config.settings import IngestSettings
from ingest.parse.wire import Limits


def limits_of(settings: IngestSettings) -> Limits:
    """Pictures are read where the settings say so and the engine for it is installed."""
    has_ocr = settings.ocr == "auto" and find_spec("rapidocr") is not None
    return Limits(
        seconds=settings.parse_seconds,
        memory_bytes=settings.parse_memory_bytes,
        max_file_bytes=settings.max_file_bytes,
        ocr_seconds=settings.ocr_seconds if has_ocr else 0.0,
    )
