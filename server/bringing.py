"""An adapter that arrives over the API: a GGUF file as it is, a PEFT folder converted first."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.bring_in import bring_in
from adapters.registry import Card
from config.models import ModelFile


@asynccontextmanager
async def checked_file(path: Path, brand: str, base: ModelFile) -> AsyncIterator[tuple[Path, Card]]:
    """The GGUF file, which passed every check that needs no llama.cpp, and what it says of its origin.

    A converted one is gone after the block. Raises BadRequestError with the reason.
    """
    with tempfile.TemporaryDirectory() as work:
        yield await asyncio.to_thread(bring_in, path, brand, base, Path(work))
