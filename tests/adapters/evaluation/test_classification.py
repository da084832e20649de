from dataclasses import replace

import pytest

from adapters.evaluation.classification import OTHER, confusion, f1_of
from adapters.evaluation.measures import judge
from config.brands import Brand, FormatRules
from tests.adapters.evaluation.small import answer, question

TAXONOMY = ("billing", "repair", "praise")
BRAND = Brand(name="sorter", format=FormatRules(labels=TAXONOMY))


def test_counts_by_hand() -> None:
    items = [
        judge(question(0, label="billing"), answer("billing"), BRAND),
        judge(question(1, label="billing"), answer("Repair"), BRAND),
        judge(question(2, label="repair"), answer("repair"), BRAND),
        judge(question(3, label="repair"), answer("no idea"), BRAND),
    ]
    found = confusion(items, TAXONOMY)
    assert found is not None
    assert found.labels == ("billing", "repair", OTHER)
    assert found.written == ("billing", "repair")
    assert found.counts["billing", "repair"] == 1
    assert found.counts["repair", OTHER] == 1
    assert found.accuracy.value == 0.5
    assert found.macro_f1.value == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert [item.values["correct"] for item in items] == [1.0, 0.0, 1.0, 0.0]


def test_a_rare_label_weighs_as_much_as_a_common_one() -> None:
    assert f1_of([("a", "a")] * 9 + [("b", "a")]) == pytest.approx((18 / 19 + 0) / 2)


def test_a_brand_without_labels_has_no_matrix() -> None:
    assert confusion([replace(judge(question(0), answer("x"), BRAND), label=None)], TAXONOMY) is None
