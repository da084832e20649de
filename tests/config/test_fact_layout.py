"""Where tokens stand, and which layout wins where several have a say. The engine's tests use the rest of it."""

import pytest

from config.fact_layout import FactLayout, Layout, layout_named, slower_of


@pytest.mark.parametrize(
    ("named", "layout"),
    [
        ("blocks", "blocks"),
        ("exact", "exact"),
        (None, "exact"),
        ("", "exact"),
        ("faster", "exact"),
        (["blocks"], "exact"),
    ],
)
def test_a_card_that_tells_no_layout_means_one_piece(named: object, layout: FactLayout) -> None:
    assert layout_named(named) == layout


def test_the_slower_one_wins() -> None:
    assert slower_of("blocks", "blocks") == "blocks"
    assert slower_of("blocks", "exact") == slower_of("exact", "blocks") == "exact"


def test_the_question_stands_behind_the_longest_block() -> None:
    layout = Layout((3, 5, 9, 10))
    assert layout.blocks == (slice(3, 5), slice(5, 9), slice(9, 10))
    assert [layout.num_positions(num) for num in range(13)] == [0, 1, 2, 3, 4, 5, 5, 5, 6, 7, 7, 8, 9]
