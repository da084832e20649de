"""Index generations: what differs, rebuilding beside the live one, the switch, going back, and clearing away."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from config.datadir import DataDirectory
from config.errors import BadRequestError, ModelError, NotFoundError
from ingest.accept import Terms
from ingest.documents import Progress
from ingest.generation import CURRENT, IndexFolder, tokenizer_identity
from ingest.rebuild import rebuild
from ingest.recall import Question, read_questions, recall_at_ten
from ingest.rollback import prune, roll_back
from ingest.store import FactStore
from tests.ingest.generations_world import (
    NO_QUESTIONS,
    Setup,
    count_words,
    ignore,
    lexical_paths,
    rank_lexically,
    texts,
    write_documents,
)


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(DataDirectory(tmp_path / "data"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_documents(tmp_path / "docs")
    return tmp_path / "docs"


def test_a_new_directory_begins_with_generation_1(setup: Setup, source: Path) -> None:
    with setup.opened() as generations:
        assert (generations.number, generations.differences) == (1, [])
        assert generations.ingest(source, "kb").num_added == 8
        assert generations.check_parity().is_good
    assert (setup.data.index / "1" / "housevoice.db").exists()
    assert (setup.data.index / CURRENT).stat().st_mode & 0o777 == 0o600
    with setup.opened() as generations:
        assert lexical_paths(generations, "value3x1") == ["d3.md"]


def test_another_embedder_serves_on_with_its_own_until_rebuilt(setup: Setup, source: Path) -> None:
    with setup.opened() as generations:
        generations.ingest(source, "kb")
    other = replace(setup, embedder="hash:64")
    with other.opened() as generations:
        assert generations.differences == ["embedder hash-256-256 -> hash-64-256"]
        assert generations.live.search_dense("value3x1", ("kb",), 1)[0].score > 0.1
        (source / "d0.md").write_text("# Item 0\n\nA new sentence about zebras.\n")
        assert generations.ingest(source, "kb").summary == "+0 ~1 -0, 7 unchanged"
        report = rebuild(generations, NO_QUESTIONS, ignore)
        assert (report.number, report.before, report.refusal) == (2, 1, "")
        assert (report.num_documents, report.num_parsed, report.num_carried) == (8, 8, 0)
        assert (generations.number, generations.differences) == (2, [])
        assert generations.live.parts.embedder.dimensions == 64
        assert generations.check_parity().is_good
        assert lexical_paths(generations, "zebras") == ["d0.md"]
        assert generations.ingest(source, "kb").summary == "+0 ~0 -0, 8 unchanged"
    with other.opened() as generations:
        assert generations.number == 2


def test_other_chunks_hold_the_same_text(setup: Setup, source: Path) -> None:
    with setup.opened() as generations:
        generations.ingest(source, "kb")
        before = texts(generations)
    with replace(setup, chunk_tokens=90).opened() as generations:
        assert generations.differences == ["chunk tokens 40 -> 90"]
        report = rebuild(generations, NO_QUESTIONS, ignore)
        assert report.num_chunks_after < report.num_chunks_before
        assert texts(generations) == before


def test_another_tokenizer_is_told(setup: Setup, source: Path) -> None:
    with setup.opened() as generations:
        generations.ingest(source, "kb")
    with replace(setup, count_tokens=len).opened() as generations:
        assert [text.split()[0] for text in generations.differences] == ["tokenizer"]
    assert tokenizer_identity(count_words) == tokenizer_identity(lambda text: len(text.split()))
    assert tokenizer_identity(count_words) != tokenizer_identity(len)


def test_documents_without_their_file_are_carried_over_and_edits_wait(setup: Setup, source: Path) -> None:
    with setup.opened() as generations:
        generations.ingest(source, "kb")
        before = texts(generations)
    (source / "d1.md").unlink()
    (source / "d2.md").write_text("# Edited, but not ingested\n\nHedgehog.\n")
    (source / "d3.md").write_bytes(b"")
    with replace(setup, embedder="hash:64", chunk_tokens=90).opened() as generations:
        report = rebuild(generations, NO_QUESTIONS, ignore)
        assert (report.num_parsed, report.num_carried, report.refusal) == (5, 3, "")
        assert texts(generations) == before
        assert lexical_paths(generations, "hedgehog") == []
        assert generations.ingest(source, "kb").summary == "+0 ~1 -2, 5 unchanged"
        assert lexical_paths(generations, "hedgehog") == ["d2.md"]
        assert generations.check_parity().is_good


def test_what_changes_during_a_rebuild_is_caught_up(setup: Setup, source: Path) -> None:
    with setup.opened() as generations:
        generations.ingest(source, "kb")
    with replace(setup, embedder="hash:64").opened() as generations:
        is_edited = False

        def edit(progress: Progress) -> None:
            nonlocal is_edited
            if progress.stage != "rebuild" or progress.num_done < 7 or is_edited:
                return
            is_edited = True
            (source / "d0.md").write_text("# Item 0\n\nNow about otters.\n")
            (source / "d1.md").unlink()
            (source / "new.md").write_text("# New\n\nAll about badgers.\n")
            (source / "empty.md").write_bytes(b"")
            generations.ingest(source, "kb")

        report = rebuild(generations, NO_QUESTIONS, edit)
        assert (generations.number, report.num_documents) == (2, 8)
        assert lexical_paths(generations, "otters") == ["d0.md"]
        assert lexical_paths(generations, "badgers") == ["new.md"]
        assert lexical_paths(generations, "value1x1") == []
        assert [failure.path for failure in generations.failures()] == ["empty.md"]
        assert generations.check_parity().is_good


def test_a_stopped_rebuild_goes_on(setup: Setup, source: Path) -> None:
    write_documents(source, 90)
    with setup.opened() as generations:
        generations.ingest(source, "kb")
    other = replace(setup, embedder="hash:64")

    def stop(progress: Progress) -> None:
        if progress.stage == "rebuild" and progress.num_done == 80:
            raise KeyboardInterrupt

    with other.opened() as generations:
        with pytest.raises(KeyboardInterrupt):
            rebuild(generations, NO_QUESTIONS, stop)
        assert generations.number == 1
        assert lexical_paths(generations, "value3x1") == ["d3.md"]
    with other.opened() as generations:
        report = rebuild(generations, NO_QUESTIONS, ignore)
        assert (report.number, report.num_documents) == (2, 90)
        assert 0 < report.num_parsed < 90
        assert generations.check_parity().is_good


def test_worse_recall_is_refused_and_can_be_accepted(setup: Setup, source: Path) -> None:
    questions = [Question(f"value{number}x1", frozenset({f"d{number}.md"})) for number in range(8)]

    def rank(store: FactStore, question: str) -> list[str]:
        is_new = store.parts.embedder.dimensions == 64
        return [] if is_new and question < "value2" else rank_lexically(store, question)

    with setup.opened() as generations:
        generations.ingest(source, "kb")
        assert recall_at_ten(generations.live, questions, rank) == 1.0
    with replace(setup, embedder="hash:64").opened() as generations:
        refused = rebuild(generations, Terms(questions, rank, 0.02), ignore)
        assert (refused.recall_before, refused.recall_after) == (1.0, 0.75)
        assert "from 1.000 to 0.750" in refused.refusal
        assert generations.number == 1
        accepted = rebuild(generations, Terms(questions, rank, 0.02, accepts_worse=True), ignore)
        assert (accepted.refusal, accepted.num_parsed, generations.number) == ("", 0, 2)
        assert generations.folder.card(2).checks["recall_after"] == 0.75


def test_a_borrower_keeps_its_generation_over_the_switch(setup: Setup, source: Path) -> None:
    with setup.opened() as generations:
        generations.ingest(source, "kb")
    with replace(setup, embedder="hash:64").opened() as generations:
        with generations.using() as old:
            rebuild(generations, NO_QUESTIONS, ignore)
            assert (generations.number, old.number, old.is_retired) == (2, 1, True)
            assert old.store.search_dense("value3x1", ("kb",), 1)
            assert old.store.parts.embedder.dimensions == 256
        with pytest.raises(Exception, match="closed"):
            old.store.parts.catalog.remove(["x"])


def test_searches_never_fail_while_generations_are_switched(setup: Setup, source: Path) -> None:
    with setup.opened() as generations:
        generations.ingest(source, "kb")
    with replace(setup, embedder="hash:64").opened() as generations:
        rebuild(generations, NO_QUESTIONS, ignore)
        errors: list[Exception] = []
        seen: set[int] = set()
        is_over = threading.Event()

        def search() -> None:
            while not is_over.is_set():
                try:
                    with generations.using() as live:
                        hits = live.store.search_dense("value3x1", ("kb",), 5)
                        assert len(live.store.chunks([hit.chunk_id for hit in hits])) == 5
                        seen.add(live.number)
                except Exception as error:  # noqa: BLE001  any failure is what this test looks for
                    errors.append(error)

        readers = [threading.Thread(target=search) for _ in range(3)]
        for reader in readers:
            reader.start()
        for _ in range(4):
            roll_back(generations, None, ignore)
        is_over.set()
        for reader in readers:
            reader.join()
        assert errors == []
        assert seen == {1, 2}


def test_going_back_brings_no_deleted_document_back(setup: Setup, source: Path) -> None:
    with setup.opened() as generations:
        generations.ingest(source, "kb")
    with replace(setup, embedder="hash:64").opened() as generations:
        rebuild(generations, NO_QUESTIONS, ignore)
        (source / "d1.md").unlink()
        (source / "new.md").write_text("# New\n\nAll about badgers.\n")
        generations.ingest(source, "kb")
        report = roll_back(generations, None, ignore)
        assert (report.number, report.before, report.num_parsed, report.refusal) == (1, 2, 1, "")
        assert (generations.number, generations.folder.previous()) == (1, 2)
        assert lexical_paths(generations, "value1x1") == []
        assert lexical_paths(generations, "badgers") == ["new.md"]
        assert generations.live.parts.embedder.dimensions == 256
        assert generations.check_parity().is_good
        assert roll_back(generations, 2, ignore).num_parsed == 0


def test_rollback_says_what_it_cannot_do(setup: Setup) -> None:
    with setup.opened() as generations:
        with pytest.raises(NotFoundError, match="No earlier"):
            roll_back(generations, None, ignore)
        with pytest.raises(BadRequestError, match="1 is live already"):
            roll_back(generations, 1, ignore)
        with pytest.raises(NotFoundError, match="no index generation 7"):
            roll_back(generations, 7, ignore)


def test_prune_keeps_the_one_before_and_numbers_are_not_used_again(setup: Setup, source: Path) -> None:
    with setup.opened() as generations:
        generations.ingest(source, "kb")
    for dimensions in (64, 32, 16):
        with replace(setup, embedder=f"hash:{dimensions}").opened() as generations:
            rebuild(generations, NO_QUESTIONS, ignore)
    with replace(setup, embedder="hash:16").opened() as generations:
        assert prune(generations, 1) == [1, 2]
        assert [card.number for card in generations.folder.cards()] == [3, 4]
        roll_back(generations, None, ignore)
        assert prune(generations, 0) == [4]
        rebuild(generations, NO_QUESTIONS, ignore)
        assert generations.number == 5


def test_an_embedder_that_is_gone_is_named_and_can_be_rebuilt_from(setup: Setup, source: Path) -> None:
    with setup.opened() as generations:
        generations.ingest(source, "kb")
    folder = IndexFolder(setup.data)
    folder.write(replace(folder.card(1), embedder_source="path:gone"))
    other = replace(setup, embedder="hash:64")
    with pytest.raises(ModelError, match=r"'hash-256-256'.*'path:gone'.*index rebuild"):
        other.open()
    with other.opened(needs_embedder=False) as generations:
        assert rebuild(generations, NO_QUESTIONS, ignore).refusal == ""
    with other.opened() as generations:
        assert lexical_paths(generations, "value3x1") == ["d3.md"]


@pytest.mark.parametrize("leave", ["1.gone", "9"])
def test_what_a_killed_removal_or_creation_left_is_cleared(setup: Setup, leave: str) -> None:
    setup.open().close()
    (setup.data.index / leave / "chroma").mkdir(parents=True)
    with setup.opened() as generations:
        assert [card.number for card in generations.folder.cards()] == [1]
    assert not (setup.data.index / leave).exists()


@pytest.mark.parametrize(
    ("line", "reason"),
    [("not json", "line 2"), ('{"question": "x", "relevant": "a"}', "line 2"), ('{"relevant": []}', "line 2")],
)
def test_bad_questions_are_named_by_line(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "a", "relevant": [{"document": "d1.md"}]}\n' + line)
    with pytest.raises(BadRequestError, match=reason):
        read_questions(path)


def test_unanswerable_questions_say_nothing_of_recall(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "a", "relevant": [{"document": "d1.md", "place": "x"}]}\n\n{"question": "b"}\n')
    assert read_questions(path) == [Question("a", frozenset({"d1.md"}))]
