"""SIGKILL at random points of real ingests of a folder that goes on changing; then exactly the expected set is there.

`test_kill.py` kills between named writes; here the moment is left to chance, and what one killed run leaves behind is
what the next one starts from.
"""

import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.runs import RunState
from ingest.store import FactStore

OpenStore = Callable[[], FactStore]
RUN_SECONDS = 600

CHILD = """
import sys
from pathlib import Path
from config.datadir import DataDirectory
from config.settings import load_settings
from ingest import pipeline
from ingest.embed import HashEmbedder
from ingest.store import FactStore

data, folder = sys.argv[1:]
pipeline.GROUP_CHUNKS = 16
settings = load_settings(environment={}).ingest.model_copy(update={"chunk_tokens": 40, "parse_seconds": 600.0})
store = FactStore.open(DataDirectory(Path(data)), settings, HashEmbedder(), lambda text: len(text.split()))
store.recover()
store.ingest(Path(folder), "kb", on_progress=lambda progress: print(progress.stage, progress.num_done, flush=True))
"""


class ChangingFolder:
    """Documents of `num_parts` paragraphs, each a chunk of words of its own. `words`: what every chunk of a document
    has in common, and only they have now.
    """

    def __init__(self, path: Path, num_files: int, num_parts: int, chance: random.Random) -> None:
        self.path = path
        self.words: dict[str, str] = {}
        self._num_parts = num_parts
        self._chance = chance
        self._number = 0
        path.mkdir()
        self.add(num_files)

    def add(self, num_files: int) -> None:
        for _ in range(num_files):
            self._number += 1
            self._write(f"d{self._number}.txt")

    def change(self) -> None:
        """Some are edited, some go, some are moved, some come."""
        names = sorted(self.words)
        self._chance.shuffle(names)
        share = max(2, len(names) // 4)
        for name in names[:share]:
            self._write(name)
        for name in names[share : share + share // 2]:
            (self.path / name).unlink()
            del self.words[name]
        for name in names[2 * share : 2 * share + share // 2]:
            self._number += 1
            target = f"moved{self._number}/{name.rpartition('/')[2]}"
            (self.path / target).parent.mkdir()
            (self.path / name).rename(self.path / target)
            self.words[target] = self.words.pop(name)
        self.add(share // 2)

    def _write(self, name: str) -> None:
        self._number += 1
        word = f"state{self._number}"
        parts = [
            f"{word} {word}part{part} " + " ".join(f"{word}p{part}w{number}" for number in range(30))
            for part in range(self._num_parts)
        ]
        (self.path / name).write_text("\n\n".join(parts))
        self.words[name] = word


def run_and_kill(data: Path, folder: Path, chance: random.Random, num_lines: int) -> bool:
    """True where the process was killed before it had ended by itself."""
    arguments = [sys.executable, "-c", CHILD, str(data), str(folder)]
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert child.stdout
    for _, _line in zip(range(chance.randrange(1, num_lines)), child.stdout, strict=False):
        pass
    time.sleep(chance.uniform(0, 0.05))
    child.kill()
    child.stdout.close()
    return child.wait(RUN_SECONDS) == -signal.SIGKILL


def assert_exactly(store: FactStore, words: dict[str, str], num_parts: int) -> None:
    documents = store.documents()
    assert {document.path for document in documents} == set(words)
    seen: set[str] = set()
    for document in documents:
        chunks = store.chunks_of(document.document_id)
        assert [chunk.ordinal for chunk in chunks] == list(range(num_parts)), document.path
        word = words[document.path]
        assert all(re.match(rf"{word} {word}part{chunk.ordinal} ", chunk.text) for chunk in chunks)
        hits = store.search_lexical(word, ("kb",), 10 * num_parts)
        assert sorted(hit.chunk_id for hit in hits) == sorted(chunk.chunk_id for chunk in chunks)
        by_id = store.chunks([chunk.chunk_id for chunk in chunks])
        assert len(by_id) == num_parts
        assert seen.isdisjoint(by_id)
        seen |= by_id.keys()
    parity = store.check_parity(sample=1_000_000)
    assert parity.is_good, parity
    assert parity.num_sampled == parity.num_found == len(seen) == len(words) * num_parts


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(
    ("num_kills", "num_files", "num_parts"),
    [
        pytest.param(4, 30, 3, id="short"),
        pytest.param(20, 300, 12, id="long", marks=pytest.mark.slow),
    ],
)
def test_killed_at_random_points(
    num_kills: int, num_files: int, num_parts: int, open_store: OpenStore, tmp_path: Path
) -> None:
    chance = random.Random(num_kills)
    folder = ChangingFolder(tmp_path / "docs", num_files, num_parts, chance)
    num_killed = 0
    for _ in range(3 * num_kills):
        num_killed += run_and_kill(tmp_path / "data", folder.path, chance, num_files // 2)
        if num_killed == num_kills:
            break
        folder.change()
    assert num_killed == num_kills
    store = open_store()
    store.recover()
    states = {run.state for run in store.runs(1000)}
    assert RunState.INTERRUPTED in states
    assert RunState.RUNNING not in states
    store.ingest(folder.path, "kb")
    assert_exactly(store, folder.words, num_parts)
    assert store.ingest(folder.path, "kb").num_unchanged == len(folder.words)
    assert_exactly(open_store(), folder.words, num_parts)
