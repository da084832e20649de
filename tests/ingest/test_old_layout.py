"""A data directory of the release before generations (facts in the root) opens, after a backup, with nothing lost."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from config.database import migrate, open_database
from config.datadir import DataDirectory
from config.errors import DataDirectoryError
from ingest import tables
from ingest.access.labels import OPEN
from ingest.chunk import CHUNKER_VERSION
from ingest.documents import Chunk, IndexedChunk
from ingest.embed import HashEmbedder
from ingest.parse.dispatch import PARSER_VERSION
from ingest.pipeline import document_id_of
from ingest.vectors import ChromaIndex
from tests.ingest.generations_world import Setup, lexical_paths

RECIPE = f"parser {PARSER_VERSION}, chunker {CHUNKER_VERSION}/40, embedder hash-256-256"
NUM_DOCUMENTS = 5
OTHER_TABLE = "CREATE TABLE api_key (key_id TEXT PRIMARY KEY); INSERT INTO api_key VALUES ('k1')"


def write_old_layout(data: DataDirectory, folder: Path) -> None:
    """As the release before wrote it, with the tables of its only migration, and files that are not edited since."""
    data.create()
    folder.mkdir()
    with closing(open_database(data.database)) as connection:
        migrate(connection, "facts", tables.MIGRATIONS[:1])
        migrate(connection, "keys", [OTHER_TABLE])
        vectors = ChromaIndex(data.chroma, "hash-256-256")
        for number in range(NUM_DOCUMENTS):
            path = folder / f"d{number}.txt"
            path.write_text(f"Old fact number {number}: value{number}.", encoding="utf-8")
            _write_document(connection, vectors, path)
        connection.execute(
            "INSERT INTO failures VALUES ('kb', 'bad.pdf', ?, 'damaged', 'no trailer', 3, 4, 'parser 1')",
            (str(folder),),
        )
        vectors.close()


def _write_document(connection: sqlite3.Connection, vectors: ChromaIndex, path: Path) -> None:
    text, status = path.read_text(encoding="utf-8"), path.stat()
    document_id = document_id_of("kb", path.name)
    chunk = Chunk(f"c-{path.stem}", document_id, 0, text, (), "", 6)
    connection.execute(
        "INSERT INTO documents VALUES (?, 'kb', ?, ?, ?, 'text/plain', 'hash', 1, ?, ?, 1700000000, ?)",
        (document_id, path.name, str(path.parent), path.stem, status.st_size, status.st_mtime_ns, RECIPE),
    )
    connection.execute(
        "INSERT INTO chunks VALUES (?, ?, 0, ?, ?, '', 6)", (chunk.chunk_id, document_id, text, json.dumps([]))
    )
    row = connection.execute(
        "INSERT INTO lexical_rows (chunk_id, knowledge_base) VALUES (?, 'kb') RETURNING row_number", (chunk.chunk_id,)
    ).fetchone()
    connection.execute(
        "INSERT INTO lexical_words (rowid, title, heading, body) VALUES (?, ?, '', ?)", (row[0], path.stem, text)
    )
    vectors.upsert([IndexedChunk(chunk, "kb", path.stem, OPEN)], HashEmbedder().embed([text]))


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    setup = Setup(DataDirectory(tmp_path / "data"))
    write_old_layout(setup.data, tmp_path / "docs")
    return setup


def table_names(database: Path) -> set[str]:
    with closing(open_database(database)) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def assert_all_is_there(setup: Setup) -> None:
    with setup.opened() as generations:
        assert (generations.number, generations.differences) == (1, [])
        parity = generations.check_parity()
        assert parity.is_good
        assert (parity.num_catalog, parity.num_found) == (NUM_DOCUMENTS, NUM_DOCUMENTS)
        assert lexical_paths(generations, "value3") == ["d3.txt"]
        hits = generations.live.search_dense("Old fact number 3: value3.", ("kb",), 1)
        assert [hit.chunk_id for hit in hits] == ["c-d3"]
        assert [failure.path for failure in generations.failures()] == ["bad.pdf"]
        assert {item.indexed_unix_seconds for item in generations.documents()} == {1_700_000_000}
    assert not setup.data.chroma.exists()
    assert "documents" not in table_names(setup.data.database)
    assert "api_key" in table_names(setup.data.database)


def test_it_moves_with_a_backup_before_and_no_key_in_the_index(setup: Setup, tmp_path: Path) -> None:
    assert_all_is_there(setup)
    assert "api_key" not in table_names(setup.data.index / "1" / "housevoice.db")
    (backup,) = setup.data.backups.glob("before-generations-*")
    assert {"documents", "api_key"} <= table_names(backup / "housevoice.db")
    assert (backup / "chroma" / "chroma.sqlite3").exists()
    with setup.opened() as generations:
        assert generations.ingest(tmp_path / "docs", "kb").summary == f"+0 ~0 -0, {NUM_DOCUMENTS} unchanged"
    assert len(list(setup.data.backups.iterdir())) == 1


def test_the_old_release_refuses_what_was_moved(setup: Setup) -> None:
    setup.open().close()
    with (
        closing(open_database(setup.data.database)) as connection,
        pytest.raises(DataDirectoryError, match=r"version 1000.*newer release"),
    ):
        migrate(connection, "facts", tables.MIGRATIONS[:1])


def test_the_old_release_refuses_a_new_directory_too(tmp_path: Path) -> None:
    setup = Setup(DataDirectory(tmp_path / "new"))
    setup.open().close()
    with closing(open_database(setup.data.database)) as connection, pytest.raises(DataDirectoryError):
        migrate(connection, "facts", tables.MIGRATIONS[:1])


CHILD = """
import os, signal, sys
from pathlib import Path
from config.datadir import DataDirectory
from ingest import old_layout
from tests.ingest.generations_world import Setup

data, target, when = sys.argv[1:]
original = getattr(old_layout, target)

def dying(*given):
    if when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    original(*given)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(old_layout, target, dying)
Setup(DataDirectory(Path(data))).open()
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("target", ["_keep_facts_alone", "sync_tree", "_make_first", "sync_folder", "_drop_facts"])
def test_killed_while_moving_it_is_finished_by_the_next_start(setup: Setup, target: str, when: str) -> None:
    child = [sys.executable, "-c", CHILD, str(setup.data.root), target, when]
    killed = subprocess.run(child, check=False, timeout=240, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    assert killed.returncode == -signal.SIGKILL
    assert_all_is_there(setup)


def test_an_index_of_two_embedders_keeps_the_one_of_most_documents(setup: Setup, tmp_path: Path) -> None:
    with closing(open_database(setup.data.database)) as connection:
        other = RECIPE.replace("256-256", "64-256")
        connection.execute("UPDATE documents SET recipe = ? WHERE path = 'd0.txt'", (other,))
    with setup.opened() as generations:
        assert generations.folder.card(1).recipe.embedder == "hash-256-256"
        assert generations.ingest(tmp_path / "docs", "kb").summary == f"+0 ~1 -0, {NUM_DOCUMENTS - 1} unchanged"


def test_no_room_is_said_before_anything_is_touched(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(str(path) for path in setup.data.root.rglob("*"))
    monkeypatch.setattr("ingest.old_layout.SPARE_BYTES", 10**18)
    with pytest.raises(DataDirectoryError, match=r"nothing was changed"):
        setup.open()
    after = sorted(str(path) for path in setup.data.root.rglob("*"))
    assert [path for path in after if not path.endswith(("-wal", "-shm"))] == [
        path for path in before if not path.endswith(("-wal", "-shm"))
    ]
