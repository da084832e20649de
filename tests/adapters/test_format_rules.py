import pytest

from adapters.format_rules import brand_violations, label_of, violations
from config.brands import Brand, FormatRules

RULES = FormatRules(
    lines=("Hi! ", "- ", "Bye"),
    repeated_lines=("- ",),
    max_repeats=2,
    cited_lines=("Hi! ", "- "),
    min_words=3,
    max_words=12,
)
RIGHT = "Hi! It is 41 [1].\n- Not on Sundays [2].\nBye"


def test_an_answer_in_form_breaks_no_rule() -> None:
    assert violations(RIGHT, RULES) == []


@pytest.mark.parametrize(
    ("answer", "broken"),
    [
        ("Hi! It is 41 [1].\nBye", "lines do not follow"),
        (RIGHT.replace("- Not", "- a [1]\n- b [1]\n- Not"), "lines do not follow"),
        (RIGHT.replace("[2]", ""), "no citation in '- Not on Sundays"),
        (RIGHT + "\nPS: more", "lines do not follow"),
        (RIGHT.replace("Not", "Not " * 9), "words, outside 3 to 12"),
    ],
)
def test_each_broken_rule_is_named(answer: str, broken: str) -> None:
    assert any(broken in rule for rule in violations(answer, RULES))


def test_a_refusal_needs_no_citation_and_must_have_none() -> None:
    refusal = "Hi! No idea at all.\n- Ask them.\nBye"
    assert violations(refusal, RULES, is_refusal=True) == []
    assert violations(RIGHT, RULES, is_refusal=True) == ["a refusal cites a source"]


def test_required_and_banned_phrases() -> None:
    rules = FormatRules(required=("Kind regards",), banned=("ASAP",))
    assert violations("Do it ASAP", rules) == ["lacks 'Kind regards'", "contains 'ASAP'"]


SECTIONS = FormatRules(sections=("Summary:", "Steps:"))


@pytest.mark.parametrize(
    ("answer", "broken"),
    [
        ("Summary: fine\nSteps:\n1. Go\n2. Rest", []),
        ("Steps: go\nSummary: fine", ["sections are not Summary: / Steps:"]),
        ("Summary: fine\nSteps:", ["section 'Steps:' is empty"]),
        ("Summary: a\nSummary: b\nSteps: c", ["sections are not Summary: / Steps:"]),
    ],
)
def test_sections_stand_in_order_and_say_something(answer: str, broken: list[str]) -> None:
    assert violations(answer, SECTIONS) == broken


@pytest.mark.parametrize(
    ("answer", "place", "label", "broken"),
    [
        ("billing", "", "billing", []),
        (" Billing\n", "", "billing", []),
        ("refund", "", "refund", ["'refund' is no label of the taxonomy"]),
        ("Because.\nCategory: repair", "Category:", "repair", []),
        ("Because.", "Category:", None, ["no label at 'Category:'"]),
        ('{"ticket": {"kind": "repair"}}', "ticket.kind", "repair", []),
        ('{"ticket": ["repair"]}', "ticket.kind", None, ["no label at 'ticket.kind'"]),
        ("[" * 50_000, "kind", None, ["no label at 'kind'"]),
    ],
)
def test_labels_are_of_the_taxonomy(answer: str, place: str, label: str | None, broken: list[str]) -> None:
    rules = FormatRules(labels=("billing", "repair"), label_at=place)
    assert label_of(answer, rules) == label
    assert violations(answer, rules) == broken


def test_a_json_brands_answer_fits_its_schema() -> None:
    schema = {"type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"]}
    brand = Brand(name="b", output="json", json_schema=schema)
    assert brand_violations('{"days": 4}', brand) == []
    assert brand_violations('{"days": "four"}', brand) == [
        "does not fit the schema at $.days: 'four' is not of type 'integer'"
    ]
    assert brand_violations("four days", brand) == ["not JSON"]
    assert brand_violations(brand.refusal, brand, is_refusal=True) == []


def test_a_schema_that_points_elsewhere_is_not_fetched() -> None:
    brand = Brand(name="b", output="json", json_schema={"$ref": "http://127.0.0.1:9/schema.json"})
    (rule,) = brand_violations('{"days": 4}', brand)
    assert "cannot be used" in rule
