"""What counts as the same answer, and that the documents on disk are those that are asked about."""

import random
from pathlib import Path

import pytest

from benchmarks.fact_churn.distance import Said, Word, distance
from benchmarks.fact_churn.shelf import NUM_DOCUMENTS, Shelf


def said(*words: tuple[bytes, float], others: tuple[tuple[bytes, float], ...] = ()) -> Said:
    return Said(
        tuple(Word(*word) for word in words),
        tuple(tuple(Word(*other) for other in (word, *others)) for word in words),
    )


def test_equal_answers_are_as_far_apart_as_their_probabilities() -> None:
    assert distance(said((b"a", -1.0), (b"b", -0.5)), said((b"a", -1.0), (b"b", -0.75))) == 0.25


def test_answers_that_part_are_as_far_apart_as_the_reference_holds_the_other_word_less_likely() -> None:
    reference = said((b"a", -0.1), (b"c", -3.0), others=((b"b", -2.1), (b"z", -5.1)))
    assert distance(said((b"b", -0.2), (b"x", -9.0)), reference) == pytest.approx(2.0)
    assert distance(said((b"unheard", -0.2), (b"c", -3.0)), reference) == pytest.approx(5.0)


def test_the_shelf_and_its_folder_agree_whatever_is_done(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "documents", [f"text {number}" for number in range(200)], random.Random(1))
    assert len(shelf.documents) == NUM_DOCUMENTS
    for alter in (shelf.change, shelf.remove, shelf.add, shelf.rename, shelf.change, shelf.rename):
        assert alter()
        found = {path.name: path.read_text().strip() for path in shelf.folder.iterdir()}
        assert found == shelf.documents
