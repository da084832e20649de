"""SIGKILL between any two writes: the next run ends with exactly the expected set, by id, by vector and by word."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.store import FactStore

OpenStore = Callable[[], FactStore]

CHILD = """
import os, signal, sys
from pathlib import Path
from config.datadir import DataDirectory
from config.settings import load_settings
from ingest.embed import HashEmbedder
from ingest import catalog, lexical, pipeline, vectors
from ingest.store import FactStore

data, folder, target, method, when, after = sys.argv[1:]
pipeline.GROUP_CHUNKS = 4
owner = {"ChromaIndex": vectors.ChromaIndex, "Catalog": catalog.Catalog, "Fts5Index": lexical.Fts5Index}[target]
original, calls = getattr(owner, method), []

def dying(self, *given):
    calls.append(1)
    if len(calls) == int(when) and after == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(self, *given)
    if len(calls) == int(when):
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owner, method, dying)
settings = load_settings(environment={}).ingest.model_copy(update={"chunk_tokens": 40})
store = FactStore.open(DataDirectory(Path(data)), settings, HashEmbedder(), lambda text: len(text.split()))
store.ingest(Path(folder), "kb")
"""

POINTS = [
    ("Catalog", "doubt", 3, "after"),
    ("ChromaIndex", "upsert", 2, "before"),
    ("ChromaIndex", "upsert", 2, "after"),
    ("Fts5Index", "upsert", 2, "after"),
    ("Catalog", "put", 4, "after"),
    ("ChromaIndex", "delete", 1, "before"),
    ("ChromaIndex", "delete", 1, "after"),
    ("Catalog", "settle", 2, "after"),
]


def write_folder(folder: Path, version: int) -> None:
    """Ten documents; the second version edits some, removes one and adds one."""
    folder.mkdir(exist_ok=True)
    for number in range(version - 1, 9 + version):
        state = version if number % 2 else 1
        (folder / f"d{number}.txt").write_text(f"Rule{number} state{state}. " + f"detail{number} " * 45)
    (folder / f"d{version - 2}.txt").unlink(missing_ok=True)


def run_killed(data: Path, folder: Path, point: tuple[str, str, int, str]) -> int:
    arguments = [str(data), str(folder), *map(str, point)]
    return subprocess.run([sys.executable, "-c", CHILD, *arguments], check=False, timeout=120).returncode


@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point[3]}-{point[0]}.{point[1]}")
def test_killed_run_is_healed_by_the_next(
    point: tuple[str, str, int, str], open_store: OpenStore, tmp_path: Path
) -> None:
    folder = tmp_path / "docs"
    write_folder(folder, 1)
    open_store().ingest(folder, "kb")
    open_store().close()
    write_folder(folder, 2)
    assert run_killed(tmp_path / "data", folder, point) == -signal.SIGKILL

    store = open_store()
    store.ingest(folder, "kb")
    expected = {f"d{number}.txt" for number in range(1, 11)}
    assert {document.path for document in store.documents()} == expected
    for document in store.documents():
        chunks = store.chunks_of(document.document_id)
        assert [chunk.ordinal for chunk in chunks] == list(range(document.num_chunks))
        hits = store.search_lexical(f"rule{document.path[1:-4]}", ("kb",), 50)
        assert {hit.chunk_id for hit in hits} <= {chunk.chunk_id for chunk in chunks}
        assert hits
    assert store.search_lexical("rule0", ("kb",), 5) == []
    parity = store.check_parity(sample=1000)
    assert parity.is_good
    assert parity.num_found == sum(document.num_chunks for document in store.documents())


def test_the_child_really_dies_by_the_signal() -> None:
    """The test above would prove nothing if the child ended by an error of its own."""
    assert os.WTERMSIG(signal.SIGKILL) == 9
