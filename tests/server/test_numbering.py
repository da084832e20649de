"""Numbers that stay with a source whatever else was found."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.numbering import NUM_FEW
from ingest.documents import Chunk, Document
from server.candidates import RetrievedSource
from server.numbering import with_lasting_numbers

DOCUMENT = Document("d", "kb", "d.md", "Title", "text/markdown", "h", 1, 0, 0)


def found(*names: str) -> tuple[RetrievedSource, ...]:
    return tuple(
        RetrievedSource(number, DOCUMENT, (Chunk(name, "d", 0, name, (), "", 1),), "", "", name, 1)
        for number, name in enumerate(names, 1)
    )


@given(st.lists(st.text(min_size=1, max_size=4), unique=True, max_size=NUM_FEW))
def test_few_sources_have_different_digits_and_the_order_stays(names: list[str]) -> None:
    numbered = with_lasting_numbers(found(*names))
    assert [source.text for source in numbered] == names
    numbers = [source.number for source in numbered]
    assert len(set(numbers)) == len(names)
    assert all(1 <= number <= 9 for number in numbers)


@given(st.sets(st.text(min_size=1, max_size=4), min_size=NUM_FEW + 1, max_size=20))
def test_more_sources_have_different_numbers_of_two_digits(names: set[str]) -> None:
    numbers = [source.number for source in with_lasting_numbers(found(*sorted(names)))]
    assert len(set(numbers)) == len(names)
    assert all(10 <= number <= 99 for number in numbers)


def test_more_sources_than_numbers_are_counted_on() -> None:
    numbered = with_lasting_numbers(found(*map(str, range(95))))
    assert sorted(source.number for source in numbered) == list(range(10, 105))


@given(st.lists(st.text(min_size=1, max_size=4), unique=True, min_size=1, max_size=9), st.data())
def test_the_same_sources_bear_the_same_numbers_in_every_order(names: list[str], data: st.DataObject) -> None:
    other = with_lasting_numbers(found(*data.draw(st.permutations(names))))
    numbers = {source.text: source.number for source in other}
    assert {source.text: source.number for source in with_lasting_numbers(found(*names))} == numbers


@pytest.mark.parametrize("sizes", [(1, 2, 3), (9,)])
def test_most_sources_keep_their_number_beside_other_ones(sizes: tuple[int, ...]) -> None:
    names = [f"chunk {n}" for n in range(12)]
    numbers: dict[str, list[int]] = {name: [] for name in names}
    for size in sizes:
        for source in (s for some in combinations(names, size) for s in with_lasting_numbers(found(*some))):
            numbers[source.text].append(source.number)
    kept = sum(max(borne.count(number) for number in borne) for borne in numbers.values())
    assert kept / sum(map(len, numbers.values())) > 0.85
