"""Measures whose values can be computed by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.evaluation.judging import Judged
from server.evaluation.measures import Scores, auroc, bootstrap_mean, floor_choices, score
from server.evaluation.questions import Expected
from tests.server.evaluation.found import candidate, judged, retrieval

WANTED = (Expected("wanted"),)


def value_of(scores: Scores, name: str) -> float:
    interval = scores.values[name]
    assert interval is not None
    return interval.value


def first_at(rank: int | None, name: str, relevance: float = 0.8, seconds: float = 0.01) -> Judged:
    """A question whose expected document is at this rank of twelve, dense and fused; lexical finds it never."""
    paths = [f"other{number}" for number in range(1, 13)]
    if rank is not None:
        paths[rank - 1] = "wanted"
    found = [candidate(path, dense=number, lexical=None) for number, path in enumerate(paths, 1)]
    return judged(name, WANTED, retrieval(*found, relevance=relevance, seconds=seconds))


def test_ranking_measures() -> None:
    scores = score([first_at(1, "a"), first_at(3, "b"), first_at(11, "c"), first_at(None, "d")])
    assert value_of(scores, "fused.R@1") == pytest.approx(1 / 4)
    assert value_of(scores, "fused.R@5") == pytest.approx(2 / 4)
    assert value_of(scores, "fused.R@10") == pytest.approx(2 / 4)
    assert value_of(scores, "fused.RR") == pytest.approx((1 + 1 / 3 + 1 / 11) / 4)
    assert value_of(scores, "fused.nDCG@10") == pytest.approx((1 + 1 / math.log2(4)) / 4)
    assert value_of(scores, "dense.RR") == value_of(scores, "fused.RR")
    assert value_of(scores, "lexical.R@10") == 0


def test_recall_counts_expected_places() -> None:
    found = retrieval(candidate("a"), candidate("other"), candidate("b"))
    scores = score([judged("q", (Expected("a"), Expected("b")), found)])
    assert value_of(scores, "fused.R@1") == 0.5
    assert value_of(scores, "fused.R@5") == 1


def test_refusals_and_latency() -> None:
    answerable = [first_at(1, "a", 0.9, 0.010), first_at(1, "b", 0.2, 0.020)]
    unanswerable = [
        judged(name, (), retrieval(candidate("x"), relevance=r, seconds=0.03)) for name, r in (("c", 0.1), ("d", 0.5))
    ]
    scores = score([*answerable, *unanswerable])
    assert (scores.num_answerable, scores.num_unanswerable) == (2, 2)
    assert value_of(scores, "refusal.auroc") == 0.75
    assert value_of(scores, "refusal.precision") == 0.5
    assert value_of(scores, "refusal.recall") == 0.5
    assert value_of(scores, "refusal.wrong") == 0.5
    assert scores.latency.p50 == pytest.approx(25)
    assert scores.latency.p99 == pytest.approx(30)


def test_what_cannot_be_told_is_none() -> None:
    scores = score([first_at(1, "a")])
    assert scores.values["refusal.auroc"] is None
    assert scores.values["refusal.precision"] is None
    assert value_of(scores, "refusal.wrong") == 0
    assert score([judged("u", (), retrieval())]).values["fused.R@1"] is None


def test_intervals_hold_the_mean_and_repeat_themselves() -> None:
    values = np.asarray([1.0] * 60 + [0.0] * 40)
    interval = bootstrap_mean(values)
    assert interval == bootstrap_mean(values)
    assert interval is not None
    assert interval.low < interval.value == 0.6 < interval.high
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * math.sqrt(0.6 * 0.4 / 100), abs=0.03)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_auroc_is_the_share_of_pairs_in_order(positive: list[int], negative: list[int]) -> None:
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auroc(np.asarray(positive, float), np.asarray(negative, float)) == pytest.approx(sum(pairs) / len(pairs))


def test_other_floors_say_what_they_would_refuse() -> None:
    answerable = [first_at(1, f"a{number}", relevance=0.405 + number / 200) for number in range(100)]
    unanswerable = [judged(f"u{n}", (), retrieval(candidate("x"), relevance=n / 10)) for n in range(10)]
    choices = floor_choices([*answerable, *unanswerable])
    assert [choice.floor for choice in choices] == [0.4, 0.41, 0.43, 0.45]
    assert [choice.wrong for choice in choices] == [0.0, 0.01, 0.05, 0.09]
    assert [choice.recall for choice in choices] == [0.4, 0.5, 0.5, 0.5]
    assert floor_choices(answerable) == []
