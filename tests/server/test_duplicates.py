"""Near-duplicates are found, and what tells two facts apart is never dropped."""

import pytest

from ingest.documents import Chunk, Document
from server.duplicates import Features, features_of, is_duplicate, resemblance

LONG = (
    "Every freezer that leaves the hall is checked for leaks, wiped with the blue cloth and closed with a paper seal,"
    " and the driver signs the sheet before the ramp is lowered onto the yard."
)


def features(text: str, title: str = "Guide", path: tuple[str, ...] = ()) -> Features:
    document = Document(title, "kb", f"{title}.md", title, "text/plain", "h", 1, 0, 0)
    return features_of(Chunk(title, title, 0, text, path, "", 10), document)


def duplicate(one: str, other: str, threshold: float = 0.8) -> bool:
    return is_duplicate(features(one), features(other), threshold)


def test_a_copy_with_a_few_words_changed_is_a_duplicate() -> None:
    edited = LONG.replace("wiped with", "wiped down with")
    assert resemblance(features(LONG), features(edited)) == pytest.approx(31 / 36)
    assert duplicate(LONG, edited)
    assert not duplicate(LONG, edited, threshold=0.9)
    assert not duplicate(LONG, edited, threshold=1.0)


def test_equal_texts_are_duplicates_whatever_their_case_and_length() -> None:
    assert duplicate("same", "Same \n", threshold=1.0)
    assert not duplicate("yes", "aye")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("every freezer", "every freezer within 36 months"),
        ("the blue cloth", "the Velmora cloth"),
        ("is lowered", "is not lowered"),
        ("is lowered", "isn't lowered"),
        ("the driver", "no driver"),
    ],
)
def test_a_number_a_name_or_a_negation_keeps_both(old: str, new: str) -> None:
    text = f"{LONG} {LONG.lower()}"
    changed = text[::-1].replace(old[::-1], new[::-1], 1)[::-1]
    assert changed != text
    assert resemblance(features(text), features(changed)) > 0.7
    assert not duplicate(text, changed, threshold=0.5)


def test_rows_that_differ_in_one_figure_are_both_kept() -> None:
    row = "Article: Pod 12; Price: 31.50 EUR; Deposit: 20 EUR; Rental for each day: 2.35 EUR; Minimum number: 4"
    assert not duplicate(row, row.replace("31.50", "31.5"), threshold=0.1)
    assert not duplicate(row, row.replace("Pod 12", "Pod 28"), threshold=0.1)


def test_equal_sentences_of_two_products_or_years_are_both_kept() -> None:
    text = "The compressor is covered for three years."
    assert not is_duplicate(features(text, "Warranty H3"), features(text, "Warranty H5"), 0.8)
    assert not is_duplicate(features(text, path=("Terms 2024",)), features(text, path=("Terms 2026",)), 0.8)
    assert is_duplicate(features(text, "Warranty H3"), features(text, "Copy of warranty H3"), 0.8)
