"""What may tell unanswerable questions from answerable ones: the features by hand, and fits on made-up rows."""

import numpy as np
import pytest

from benchmarks.answerability import (
    Evidence,
    coverage,
    evidence_of,
    gain,
    refused_below,
    stems,
    threshold_for,
    word_weights,
)
from benchmarks.fit_answerability import FAR_OFF, FITTED, TESTED, Row, fit, tables
from ingest.documents import Hit


def test_features() -> None:
    dense = [Hit("a", 0.8), Hit("b", 0.5), Hit("c", 0.3)]
    lexical = [Hit("b", 9.0), Hit("a", 7.0)]
    weights = {"rare": 3.0, "common": 1.0}
    found = evidence_of("rare common", dense, lexical, ["A common one."], weights)
    assert found.similarity == 0.8
    assert found.margin == pytest.approx(0.4)
    assert (found.coverage, found.agreement) == (0.25, 0.5)


def test_features_of_nothing() -> None:
    assert evidence_of("", [], [], [], {}) == Evidence(0.0, 0.0, 0.0, 0.0)
    alone = evidence_of("x", [Hit("a", 0.4)], [Hit("b", 1.0)], ["X."], {"x": 1.0})
    assert alone == Evidence(0.4, 0.0, 1.0, 0.0)


def test_words_count_together_in_one_sentence_of_the_first_chunks() -> None:
    weights = dict.fromkeys(("warranty", "end"), 1.0)
    assert coverage("When does the warranty end?", ["The warranty is long. It ends soon."], weights) == 0.5
    assert coverage("When does the warranty end?", ["Soup.", "All warranty ends soon."], weights) == 1.0
    assert coverage("When does the warranty end?", ["a", "b", "c", "All warranty ends soon."], weights) == 0.0


def test_words_are_compared_without_their_endings_and_rare_ones_weigh_more() -> None:
    assert stems("The warranties of pumps ended") == {"warrant", "pump", "end"}
    weights = word_weights("pumps leak", {"pump": 50}, 100)
    assert weights["leak"] > 4 * weights["pump"] > 0


def test_a_threshold_refuses_no_more_than_its_share_of_the_answerable() -> None:
    scores, truth = np.arange(10) / 10, np.arange(10) % 2 == 0
    assert threshold_for(scores, truth, 0.0) == 0.0
    threshold = threshold_for(scores, truth, 0.2)
    refused = refused_below(threshold, scores, truth)
    assert (threshold, refused.wrong, refused.recall) == (0.2, 0.2, 0.2)


def test_gain_is_paired() -> None:
    truth = np.arange(40) < 20
    noise = np.random.default_rng(1).random(40)
    same = gain(noise, 2 * noise, truth)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    better = gain(truth + noise, noise, truth)
    assert better.value == pytest.approx(better.high, abs=0.5)
    assert better.low > 0


def rows() -> list[Row]:
    """Similarity tells, the others do not."""
    return [
        Row(part, n % 2 == 0, Evidence(0.6 if n % 2 == 0 else 0.5, n % 3 / 10, n % 7 / 7, n % 5 / 5))
        for part in (*FITTED, *TESTED)
        for n in range(60)
    ]


def test_the_fit_finds_the_feature_that_tells_and_does_not_look_at_what_is_tested() -> None:
    made = rows()
    truth = np.array([row.is_answerable for row in made])
    scores = fit(made, ("similarity", "margin", "coverage"))
    assert scores[truth].min() > 0.5 > scores[~truth].max()
    turned = [row if row.part in FITTED else Row(row.part, not row.is_answerable, row.evidence) for row in made]
    assert fit(turned, ("similarity", "margin", "coverage")).tolist() == scores.tolist()


def test_the_table_has_every_set_and_what_each_floor_refuses() -> None:
    text = "\n".join(tables([*rows(), Row(FAR_OFF, False, Evidence(0.29, 0.0, 0.0, 0.0))]))
    assert text.count("(fitted)") == len(FITTED)
    assert text.count("(tested)") == len(TESTED)
    assert "| similarity < 0.28 | " + " | ".join(["0.000 / 0.000"] * 5) + " | - / 0.000 |" in text
    assert "| similarity < 0.3 | " + " | ".join(["0.000 / 0.000"] * 5) + " | - / 1.000 |" in text
