"""What follows from how long steps take, on tables that are no smooth curves."""

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from server.engine.steptime import StepTable

Q8 = StepTable(((1, 0.030), (2, 0.101), (4, 0.150), (7, 0.259), (8, 0.181), (16, 0.199), (32, 0.391)))
"""A 0.5 B model in Q8_0 on two cores with AVX-512: seven rows take longer than eight."""
SMOOTH = StepTable(((1, 0.020), (2, 0.024), (4, 0.032), (8, 0.048), (16, 0.080)))
LINEAR = StepTable(((1, 0.010), (2, 0.020)))

tables = st.builds(
    lambda sizes, seconds: StepTable(((1, seconds[0]), *zip(sorted(sizes), seconds[1:], strict=False))),
    st.sets(st.integers(2, 40), max_size=8),
    st.lists(st.floats(1e-4, 2.0), min_size=9, max_size=9),
)


def test_between_points_it_is_linear_and_beyond_the_last_in_proportion() -> None:
    assert Q8.seconds(1) == 0.030
    assert Q8.seconds(3) == pytest.approx(0.1255)
    assert Q8.seconds(64) == pytest.approx(0.782)


@pytest.mark.parametrize("points", [(), ((2, 1.0),), ((1, 1.0), (1, 2.0)), ((1, 0.0),), ((1, float("nan")),)])
def test_what_is_no_table_is_refused(points: tuple[tuple[int, float], ...]) -> None:
    with pytest.raises(ValueError, match=r"rows|no time"):
        StepTable(points)


def test_streams_go_one_by_one_where_a_batch_is_slower() -> None:
    assert [Q8.streams(number) for number in (1, 2, 4, 7, 8, 16)] == [1, 1, 1, 1, 8, 16]
    assert [SMOOTH.streams(number) for number in (1, 2, 7, 16)] == [1, 2, 7, 16]
    assert LINEAR.streams(2) == 2, "where nothing is gained, nobody waits"
    assert [Q8.streams(number, num_spare=9) for number in (5, 6, 7)] == [1, 6, 7], "as eight or sixteen rows"


@hypothesis_settings(deadline=None)
@given(tables, st.integers(1, 32))
def test_streams_together_are_never_slower_than_one_after_the_other(table: StepTable, num_streams: int) -> None:
    number = table.streams(num_streams)
    assert 1 <= number <= num_streams
    assert number / table.seconds(number) * 1.0501 >= max(
        other / table.seconds(other) for other in range(1, num_streams + 1)
    )


def test_the_room_is_what_fits_into_the_time() -> None:
    assert SMOOTH.room(1, 0.048, most=100) == 7
    assert SMOOTH.room(1, 0.048, most=3) == 3
    assert SMOOTH.room(8, 0.048, most=100) == 0
    assert Q8.room(6, 0.182, most=9) == 2, "eight rows are quicker than seven"


def test_drafts_are_added_where_tokens_a_second_grow() -> None:
    sure, doubtful = [0.95**n for n in range(1, 8)], [0.2**n for n in range(1, 8)]
    assert SMOOTH.drafts(1, sure) == 7
    assert SMOOTH.drafts(1, doubtful) == 0
    assert LINEAR.drafts(1, sure) == 0
    assert Q8.drafts(1, [0.99] * 15) == 15, "only the whole tile of sixteen pays"
    assert Q8.drafts(1, [0.99] * 3) == 0


def test_rows_without_a_chance_are_added_where_more_rows_take_less_time() -> None:
    assert Q8.drafts(7, [0.0, 0.0]) == 1
    assert SMOOTH.drafts(7, [0.0, 0.0]) == 0


@hypothesis_settings(deadline=None)
@given(tables, st.integers(1, 16), st.lists(st.floats(0, 1), max_size=16))
def test_drafts_never_make_expected_tokens_a_second_fewer(
    table: StepTable, num_streams: int, gains: list[float]
) -> None:
    number = table.drafts(num_streams, gains)
    expected = num_streams + sum(gains[:number])
    assert expected / table.seconds(num_streams + number) >= num_streams / table.seconds(num_streams) * (1 - 1e-9)
