import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bench.statistics import median, percentile, ratio_of

SECONDS = st.lists(st.floats(0.01, 100), min_size=1, max_size=30)


@pytest.mark.parametrize(("percent", "expected"), [(0, 1.0), (50, 5.0), (95, 10.0), (90, 9.0), (100, 10.0)])
def test_percentiles_are_values_that_were_measured(percent: float, expected: float) -> None:
    assert percentile([float(value) for value in range(10, 0, -1)], percent) == expected


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing"):
        median([])


@given(SECONDS)
def test_a_percentile_is_one_of_the_values(values: list[float]) -> None:
    assert percentile(values, 95) in values
    assert min(values) <= median(values) <= percentile(values, 95) <= max(values)


def test_a_ratio_is_of_the_medians_and_sure_where_all_values_agree() -> None:
    ratio = ratio_of([30.0] * 5, [2.0] * 5)
    assert ratio is not None
    assert (ratio.value, ratio.low, ratio.high) == (15.0, 15.0, 15.0)


def test_a_ratio_is_less_sure_where_values_differ_and_the_same_each_time() -> None:
    above, below = [1.0, 2.0, 4.0, 8.0], [1.0, 1.0, 2.0, 3.0]
    ratio = ratio_of(above, below)
    assert ratio is not None
    assert ratio.low < ratio.value < ratio.high
    assert ratio == ratio_of(above, below)


@pytest.mark.parametrize(("above", "below"), [([], [1.0]), ([1.0], []), ([1.0], [0.0])])
def test_what_was_not_measured_has_no_ratio(above: list[float], below: list[float]) -> None:
    assert ratio_of(above, below) is None
