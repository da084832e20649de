import pytest

from adapters.format_rules import violations
from config.brands import FormatRules

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
