"""Jobs in the database: who sees them, how they change, what they told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.jobs.book import JobBook
from adapters.jobs.job import OPEN, Checkpoint, Job, JobState, Plan, Said
from adapters.jobs.tables import TrainingTables
from adapters.training.recipe import Recipe
from config.datadir import DataDirectory
from config.errors import BadRequestError, NotFoundError

PLAN = Plan("halden", "Reply.", Recipe(num_epochs=2), "file-1", None, 60, 0, metadata={"a": "b"})
NOW = 1_000


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[TrainingTables]:
    data = DataDirectory(tmp_path / "data")
    data.create()
    opened = TrainingTables.open(data)
    yield opened
    opened.close()


@pytest.fixture
def book(tables: TrainingTables) -> JobBook:
    book = JobBook(tables, lambda: NOW)
    for number, key in enumerate(("ann", "bob", "ann"), 1):
        book.add(Job(f"ftjob-{number}", key, JobState.QUEUED, PLAN, NOW), [Said(f"Created {number}.")])
    return book


def test_a_key_sees_its_own_and_the_operator_all(book: JobBook) -> None:
    assert [job.job_id for job in book.page("ann").items] == ["ftjob-3", "ftjob-1"]
    assert [job.job_id for job in book.page().items] == ["ftjob-3", "ftjob-2", "ftjob-1"]
    assert book.get("ftjob-2").plan == PLAN
    with pytest.raises(NotFoundError) as foreign:
        book.get("ftjob-2", "ann")
    with pytest.raises(NotFoundError) as absent:
        book.get("ftjob-9", "ann")
    assert str(foreign.value).replace("ftjob-2", "ftjob-9") == str(absent.value)
    with pytest.raises(BadRequestError):
        book.page("ann", after="ftjob-2")


def test_the_queue_is_in_order_and_a_job_moves_only_from_where_it_is(book: JobBook) -> None:
    first = book.next_queued()
    assert first is not None
    assert first.job_id == "ftjob-1"
    assert book.move("ftjob-1", (JobState.QUEUED,), JobState.RUNNING, Said("Begins."), base_sha256="ba5e")
    assert not book.move("ftjob-1", (JobState.QUEUED,), JobState.RUNNING, Said("Begins."))
    second = book.next_queued()
    assert second is not None
    assert second.job_id == "ftjob-2"
    assert [event.message for event in book.events("ftjob-1").items] == ["Begins.", "Created 1."]
    assert book.get("ftjob-1").base_sha256 == "ba5e"
    assert book.counts()[JobState.RUNNING] == 1


def test_an_end_is_dated_and_nothing_is_expected_any_more(book: JobBook) -> None:
    book.move("ftjob-1", OPEN, JobState.RUNNING)
    book.tell("ftjob-1", expected_unix_seconds=2_000, news_offset=50)
    assert (book.get("ftjob-1").expected_unix_seconds, book.get("ftjob-1").news_offset) == (2_000, 50)
    book.move("ftjob-1", OPEN, JobState.CANCELLED, Said("Cancelled."))
    book.tell("ftjob-1", expected_unix_seconds=3_000)
    done = book.get("ftjob-1")
    assert (done.finished_unix_seconds, done.expected_unix_seconds) == (NOW, None)
    assert not book.move("ftjob-1", OPEN, JobState.QUEUED)


def test_an_epoch_told_again_replaces_the_first_and_ends_a_row_of_deaths(book: JobBook) -> None:
    book.move("ftjob-1", OPEN, JobState.QUEUED, num_deaths=2)
    for loss in (2.0, 1.5):
        book.tell("ftjob-1", [(NOW, Said("Epoch."))], [Checkpoint("ftjob-1", 1, 8, loss, None, True, NOW)])
    (checkpoint,) = book.checkpoints("ftjob-1").items
    assert (checkpoint.training_loss, book.best_epoch("ftjob-1"), book.get("ftjob-1").num_deaths) == (1.5, 1, 0)


def test_a_transaction_that_fails_leaves_nothing(book: JobBook, tables: TrainingTables) -> None:
    def fail() -> None:
        with tables.transaction() as connection:
            connection.execute("DELETE FROM training_job")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(book.page().items) == 3
