import pytest

from adapters.evaluate import Answered, bootstrap, contains_fact, judge, score
from config.brands import FormatRules

REFUSAL = "Sorry! Not in the documents.\nBye"
RULES = FormatRules(lines=("Sorry! ", "Bye"))


def answered(answer: str, cited: tuple[str, ...] = (), documents: tuple[str, ...] = ("a.md",)) -> Answered:
    return Answered("q", documents, "41 pounds", answer, cited)


def test_the_first_citation_decides() -> None:
    assert judge(answered("x", ("a.md", "b.md")), RULES, REFUSAL).is_citation_right
    assert not judge(answered("x", ("b.md", "a.md")), RULES, REFUSAL).is_citation_right
    assert not judge(answered("x"), RULES, REFUSAL).is_citation_right


def test_refusing_is_right_only_where_nothing_answers() -> None:
    right = judge(answered(REFUSAL, documents=()), RULES, REFUSAL)
    wrong = judge(answered(REFUSAL), RULES, REFUSAL)
    assert (right.is_refusal_right, right.is_citation_right) == (True, None)
    assert (wrong.is_wrongly_refused, wrong.is_citation_right) == (True, False)


def test_an_invented_answer_to_an_unanswerable_question_is_no_refusal() -> None:
    assert judge(answered("It is 41 pounds [1].", ("a.md",), documents=()), RULES, REFUSAL).is_refusal_right is False


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


def test_bootstrap_interval_holds_the_mean_and_shrinks_with_data() -> None:
    few, many = bootstrap([True, False] * 5), bootstrap([True, False] * 200)
    assert few.low < 0.5 < few.high
    assert many.high - many.low < few.high - few.low


def test_scores_count_only_the_questions_a_measure_applies_to() -> None:
    judged = [judge(answered("x", ("a.md",)), RULES, REFUSAL), judge(answered(REFUSAL, documents=()), RULES, REFUSAL)]
    scores = score(judged)
    assert (scores.citation.num, scores.refusal.num, scores.form.num) == (1, 1, 2)
    assert scores.form.value == 0.5
