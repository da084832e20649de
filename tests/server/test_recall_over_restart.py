"""R3: what a question finds is the same before and after a restart, on real embeddings; and after a restore (R11)."""

import json
from pathlib import Path

import pytest

from config.datadir import DataDirectory
from config.restore import restore_backup
from config.settings import SAMPLE, Settings, load_settings
from ingest.documents import Hit
from ingest.generations import IndexGenerations
from ingest.recall import Question, recall_at_ten
from server.index_work import backing_up, open_generations, ranker
from tests.ingest.generations_world import count_words, ignore

NUM_QUESTIONS = 500

pytestmark = pytest.mark.model


def questions() -> list[Question]:
    """Questions on the sample company, each with the documents that answer it."""
    rows = [
        json.loads(line)
        for name in ("halden", "pipkin")
        for line in (SAMPLE / "examples" / f"{name}-pairs.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    texts = {row["messages"][-2]["content"]: frozenset(row["documents"]) for row in rows if row.get("documents")}
    return [Question(text, documents) for text, documents in texts.items()][:NUM_QUESTIONS]


def dense(generations: IndexGenerations, asked: list[Question]) -> list[list[Hit]]:
    return [generations.live.search_dense(question.text, ("company",), 10) for question in asked]


def test_recall_is_the_same_after_a_restart_and_after_a_restore(tmp_path: Path) -> None:
    settings: Settings = load_settings(environment={"HOUSEVOICE_DATA_DIR": str(tmp_path / "data")})
    asked = questions()
    rank = ranker(settings)
    generations = open_generations(settings, count_words)
    assert generations.ingest(SAMPLE / "documents", "company").num_added > 40
    assert generations.live.parts.catalog.count_chunks() > 150
    hits, recall = dense(generations, asked), recall_at_ten(generations.live, asked, rank)
    backup = backing_up(tmp_path / "b.tar.gz")(generations, ignore)["path"]
    generations.close()
    assert recall > 0.8

    generations = open_generations(settings, count_words)
    assert dense(generations, asked) == hits
    assert recall_at_ten(generations.live, asked, rank) == recall
    generations.close()

    empty = DataDirectory(tmp_path / "empty")
    empty.create()
    restore_backup(empty, Path(backup), lambda *_: None)
    storage = settings.storage.model_copy(update={"data_dir": empty.root})
    generations = open_generations(settings.model_copy(update={"storage": storage}), count_words)
    assert dense(generations, asked) == hits
    assert recall_at_ten(generations.live, asked, rank) == recall
    generations.close()
