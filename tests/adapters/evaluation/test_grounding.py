import pytest

from adapters.evaluation.grounding import claims_of, ground, supports
from config.brands import FormatRules
from tests.adapters.evaluation.small import DOOR, LAMP, answer

RULES = FormatRules(lines=("Dear reader: ", "- ", "Yours"))


@pytest.mark.parametrize(
    ("claim", "is_supported"),
    [
        ("The lamp draws 40 watts.", True),
        ("Lamps drawing 40 watts.", True),
        ("The lamp draws 45 watts.", False),
        ("The lamp was made by Ada Stone.", True),
        ("The lamp was made by Ada Brown.", False),
        ("The lamp warms every kitchen table nicely.", False),
    ],
)
def test_numbers_names_and_most_words_support_a_claim(claim: str, is_supported: bool) -> None:
    assert supports(LAMP.everything, claim) is is_supported


def test_a_negation_is_not_seen() -> None:
    """What the measure cannot do, as its docstring says."""
    assert supports(LAMP.everything, "The lamp never draws 40 watts.")


def test_the_form_is_taken_off_before_sentences_are_counted() -> None:
    text = "Dear reader: The lamp draws 40 watts [1].\n- It comes from Leeds. [1] Fine!\nYours"
    claims = claims_of(answer(text, LAMP), RULES)
    assert [claim.text for claim in claims] == ["The lamp draws 40 watts.", "It comes from Leeds."]
    assert [claim.cited for claim in claims] == [(0,), (0,)]


def test_grounded_precision_and_recall_by_hand() -> None:
    """Three claims; the second cites the wrong source, the third none; one is invented."""
    text = "The lamp draws 40 watts [1]. The door is 2.1 metres high [1]. The window is 9 metres high [2]."
    found = ground(answer(text, LAMP, DOOR), RULES)
    assert found.grounded == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(1 / 3)
    assert found.precision == pytest.approx(1 / 3)
    assert found.unsupported == ("The window is 9 metres high.",)


def test_an_answer_without_citations_is_not_grounded() -> None:
    found = ground(answer("The lamp draws 40 watts.", LAMP), RULES)
    assert (found.grounded, found.recall, found.precision) == (1.0 - 1.0, 0.0, None)


def test_nothing_said_is_nothing_counted() -> None:
    assert ground(answer("Yours"), RULES).grounded is None
