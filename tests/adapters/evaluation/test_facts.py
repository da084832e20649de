import pytest

from adapters.evaluation.facts import contains_fact, fact_of, refuses, untold
from tests.adapters.evaluation.small import REFUSAL, brand


@pytest.mark.parametrize(
    ("answer", "fact", "is_there"),
    [
        ("You get 41 pounds a night", "41 pounds per night", True),
        ("You get 141 pounds a night", "41 pounds per night", False),
        ("By 05:30 on Monday", "every Monday at 05:30", True),
        ("Ask Callum  Wray.", "Callum Wray", True),
        ("Ask Callum Smith and others", "Callum Wray", False),
    ],
)
def test_contains_fact(answer: str, fact: str, is_there: bool) -> None:
    assert contains_fact(answer, fact) is is_there


def test_the_first_line_makes_a_refusal() -> None:
    assert refuses(REFUSAL, brand())
    assert refuses("dear reader, we do not know!", brand())
    assert not refuses("Dear reader: it is 4.\nYours", brand())


def test_without_a_stated_fact_the_numbers_of_the_answer_stand_in() -> None:
    assert fact_of("It costs 43.20 pounds for 6 [1].") == "43.20 6"
    assert fact_of("Nothing to count [1].") == ""


@pytest.mark.parametrize(
    ("fact", "question", "left"),
    [
        ("41 pounds", "How much?", "41"),
        ("26 days", "Is it 26 days?", ""),
        ("washed by hand only", "Can I put it by hand?", "washed only"),
    ],
)
def test_what_a_question_says_itself_cannot_leak(fact: str, question: str, left: str) -> None:
    assert untold(fact, question) == left
