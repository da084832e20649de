"""An iterator that runs ahead: order, bounds, errors, and a reader who leaves."""

import threading
from collections.abc import Iterator

import pytest

from ingest.read_ahead import read_ahead


def one(item: object) -> int:
    return 1


def test_all_items_come_in_order() -> None:
    assert list(read_ahead(iter(range(1_000)), one, 7)) == list(range(1_000))


def test_nothing_comes_of_nothing() -> None:
    assert list(read_ahead(iter(()), one, 7)) == []


def test_an_item_heavier_than_the_limit_passes() -> None:
    assert list(read_ahead(iter([5, 500, 5]), lambda weight: weight, 10)) == [5, 500, 5]


def test_it_runs_ahead_but_not_further_than_the_limit() -> None:
    made: list[int] = []
    is_full = threading.Event()

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 4:
                is_full.set()
            yield number

    reader = read_ahead(items(), one, 5)
    assert next(reader) == 0
    assert is_full.wait(10)
    # One was taken, and five may wait.
    assert len(made) <= 6
    assert list(reader) == list(range(1, 100))


def test_an_error_comes_behind_what_came_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third")

    reader = read_ahead(items(), one, 5)
    assert [next(reader), next(reader)] == [1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(reader)


def test_a_reader_who_leaves_closes_the_iterator() -> None:
    closed_by: list[str] = []

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed_by.append(threading.current_thread().name)

    reader = read_ahead(items(), one, 5)
    next(reader)
    reader.close()  # type: ignore[attr-defined]
    assert closed_by == ["read-ahead"]
