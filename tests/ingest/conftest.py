"""Small stores with the predictable embedder, and files written on the spot."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.datadir import DataDirectory
from config.settings import IngestSettings, load_settings
from ingest.embed import HashEmbedder
from ingest.store import FactStore

OpenStore = Callable[[], FactStore]


@pytest.fixture
def ingest_settings() -> IngestSettings:
    """Small chunks; and time to read a file even where the machine has other work."""
    return load_settings(environment={}).ingest.model_copy(update={"chunk_tokens": 40, "parse_seconds": 600.0})


@pytest.fixture
def open_store(tmp_path: Path, ingest_settings: IngestSettings) -> Iterator[OpenStore]:
    """Opens the store of this test's data directory; what was opened before is closed first, as on a restart."""
    opened: list[FactStore] = []

    def open_it() -> FactStore:
        while opened:
            opened.pop().close()
        embedder = HashEmbedder()
        store = FactStore.open(DataDirectory(tmp_path / "data"), ingest_settings, embedder, lambda t: len(t.split()))
        opened.append(store)
        return store

    yield open_it
    while opened:
        opened.pop().close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three documents of different formats."""
    folder = tmp_path / "documents"
    (folder / "hr").mkdir(parents=True)
    (folder / "hr" / "leave.md").write_text("# Paid leave\n\n## Annual\n\nTwenty-six days a year.\n", encoding="utf-8")
    (folder / "prices.csv").write_text("Article,Price\nPod 12,31 EUR\nPod 28,55 EUR\n", encoding="utf-8")
    (folder / "note.txt").write_text("The gate code is 4711 until March.\n", encoding="utf-8")
    return folder
