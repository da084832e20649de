import numpy as np
import pytest

from adapters.evaluation.statistics import mean, paired_difference, resampled, unpaired_difference


def test_an_interval_holds_the_mean_and_shrinks_with_questions() -> None:
    few, many = mean([1.0, 0.0] * 5), mean([1.0, 0.0] * 200)
    assert few is not None
    assert many is not None
    assert few.low < 0.5 < few.high
    assert many.high - many.low < few.high - few.low


def test_what_does_not_apply_is_not_counted() -> None:
    found = mean([1.0, None, 0.0])
    assert found is not None
    assert (found.value, found.num) == (0.5, 2)
    assert mean([None]) is None
    assert mean([]) is None


def test_all_right_is_not_certainly_all() -> None:
    """Resampling 20 hits gives 20 hits; the exact bound says what that is worth."""
    found = mean([1.0] * 20)
    assert found is not None
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.8316, abs=1e-4)
    missed = mean([0.0] * 20)
    assert missed is not None
    assert missed.high == pytest.approx(1 - 0.8316, abs=1e-4)


def test_pairing_takes_the_hardness_of_questions_out() -> None:
    generator = np.random.default_rng(1)
    hardness = generator.random(60)
    first, second = list(hardness), [float(value) - 0.05 for value in hardness]
    paired, unpaired = paired_difference(first, second), unpaired_difference(first, second)
    assert paired is not None
    assert unpaired is not None
    assert paired.value == pytest.approx(0.05)
    assert paired.low == pytest.approx(0.05)
    assert unpaired.low < 0 < unpaired.high


def test_unanimous_questions_do_not_prove_everything() -> None:
    better, same = paired_difference([1.0] * 6, [0.0] * 6), paired_difference([1.0] * 6, [1.0] * 6)
    assert better is not None
    assert same is not None
    assert [better.value, better.low, better.high] == pytest.approx([1.0, 0.541, 1.0], abs=1e-3)
    assert [same.value, same.low, same.high] == pytest.approx([0.0, -0.459, 0.459], abs=1e-3)
    assert str(same) == "0 (-46 to +46)"


def test_two_sets_are_compared_by_their_intervals() -> None:
    found = unpaired_difference([1.0] * 20, [0.0] * 20)
    assert found is not None
    assert [found.value, found.low] == pytest.approx([1.0, 1 - 0.1684 * 2**0.5], abs=1e-3)


def test_only_questions_that_both_have_make_a_pair() -> None:
    found = paired_difference([1.0, None, 1.0], [0.0, 1.0, None])
    assert found is not None
    assert (found.value, found.num) == (1.0, 1)
    assert paired_difference([None], [1.0]) is None
    with pytest.raises(ValueError):
        paired_difference([1.0], [1.0, 0.0])


def test_a_figure_of_the_whole_sample() -> None:
    found = resampled([1, 2, 3], lambda items: float(max(items)))
    assert found is not None
    assert found.value == 3.0
    assert found.low < 3.0
    assert resampled([], lambda items: 0.0) is None
