"""Backup and restore of a whole directory, and what is kept of an answer's generation."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from config.database import open_database
from config.datadir import DataDirectory
from config.restore import restore_backup
from config.settings import load_settings
from ingest.generations import IndexGenerations
from ingest.rebuild import rebuild
from server.index_work import backing_up, describe, pruning, verifying
from server.keys import KeyStore
from server.live_retriever import LiveRetriever
from server.records import MIGRATIONS, RecordStore, RequestRecord
from server.retrieval import Retrieval, Retriever
from tests.ingest.generations_world import NO_QUESTIONS, Setup, ignore, write_documents

RETRIEVAL = load_settings(environment={}).retrieval
QUERIES = [f"value{number}x{part}" for number in range(10) for part in range(2)]


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    write_documents(tmp_path / "docs", 10)
    return Setup(DataDirectory(tmp_path / "data"))


@pytest.fixture
def generations(setup: Setup, tmp_path: Path) -> Iterator[IndexGenerations]:
    with setup.opened() as generations:
        generations.ingest(tmp_path / "docs", "kb")
        yield generations


def retriever_of(generations: IndexGenerations) -> LiveRetriever:
    return LiveRetriever(generations, lambda store: Retriever(store, RETRIEVAL))


def answers(generations: IndexGenerations) -> list[Retrieval]:
    retriever = retriever_of(generations)
    return [replace(retriever.retrieve(query, ("kb",)), seconds=0) for query in QUERIES]


def test_backup_wipe_restore_gives_the_same_answers(setup: Setup, tmp_path: Path) -> None:
    with setup.opened() as generations:
        generations.ingest(tmp_path / "docs", "kb")
        keys = KeyStore.open(setup.data)
        secret = keys.create("reader").text
        before = answers(generations)
        report = backing_up(tmp_path / "b.tar.gz")(generations, ignore)
        generations.ingest(tmp_path / "docs" / "d0.md", "other")
        keys.close()
    assert report["generation"] == 1
    assert all(retrieval.sources for retrieval in before)
    shutil.rmtree(setup.data.root)
    setup.data.create()
    with setup.data.own("index restore", is_restore=True):
        restore_backup(setup.data, tmp_path / "b.tar.gz", lambda *_: None)
    with setup.opened() as generations:
        assert answers(generations) == before
        assert generations.check_parity(1_000).is_good
        assert verifying(repair=False)(generations, ignore)["is_good"]
        assert generations.ingest(tmp_path / "docs", "kb").num_unchanged == 10
    keys = KeyStore.open(setup.data)
    assert keys.find(secret)
    keys.close()


def test_a_backup_holds_the_live_generation_alone(setup: Setup, generations: IndexGenerations, tmp_path: Path) -> None:
    generations.close()
    with replace(setup, embedder="hash:64").opened() as later:
        rebuild(later, NO_QUESTIONS, ignore)
        backing_up(None)(later, ignore)
        (backup,) = setup.data.backups.glob("housevoice-*.tar.gz")
    restored = DataDirectory(tmp_path / "restored")
    restored.create()
    restore_backup(restored, backup, lambda *_: None)
    with replace(setup, data=restored, embedder="hash:64").opened() as found:
        assert [card.number for card in found.folder.cards()] == [2]
        assert (found.number, found.folder.previous()) == (2, None)


def test_ingest_waits_for_the_copy_only(generations: IndexGenerations, tmp_path: Path) -> None:
    """Hashing and packing go on beside writers; the copy does not."""
    stages: list[str] = []

    def look(progress: object) -> None:
        stage = str(getattr(progress, "stage", ""))
        if stage not in stages:
            stages.append(stage)

    backing_up(tmp_path / "b.tar.gz")(generations, look)
    assert stages == ["copy", "hash", "pack"]


def test_one_answer_names_the_generation_that_gave_it(setup: Setup, generations: IndexGenerations) -> None:
    assert {retrieval.generation for retrieval in answers(generations)} == {1}
    generations.close()
    with replace(setup, embedder="hash:64").opened() as later:
        retriever = retriever_of(later)
        assert retriever.retrieve(QUERIES[0], ("kb",)).generation == 1
        rebuild(later, NO_QUESTIONS, ignore)
        assert retriever.retrieve(QUERIES[0], ("kb",)).generation == 2
        told = describe(later)
        assert [(row["number"], row["is_live"]) for row in told["generations"]] == [(1, False), (2, True)]
        assert (told["previous"], told["differences"]) == (1, [])
        assert pruning(0)(later, ignore) == {"removed": [1]}


def test_old_records_get_the_column_and_new_ones_their_generation(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    data.create()
    with closing(open_database(data.database)) as connection:
        connection.executescript(
            MIGRATIONS[0] + "; CREATE TABLE schema_version (component TEXT PRIMARY KEY, version INTEGER NOT NULL);"
            "INSERT INTO schema_version VALUES ('requests', 1);"
            "INSERT INTO request VALUES ('old', 1.0, '{\"outcome\": \"stop\"}')"
        )
    records = RecordStore.open(data)
    records.write(RequestRecord("new", "key", "halden", "halden", generation=4)).result()
    assert records.read("old") == {"outcome": "stop"}
    assert records.read("new")["generation"] == 4
    with closing(open_database(data.database)) as connection:
        rows = connection.execute("SELECT request_id, generation FROM request ORDER BY 1").fetchall()
    assert [tuple(row) for row in rows] == [("new", 4), ("old", None)]
    records.close()
