import pytest

from adapters.evaluation.ability import Item, ability_items, compare, is_right


def item(check: str, expected: str) -> Item:
    return Item.model_validate({"id": "x", "kind": "k", "question": "q", "check": check, "expected": expected})


@pytest.mark.parametrize(
    ("check", "expected", "answer", "right"),
    [
        ("words", "CO2|carbon dioxide", "They take in Carbon Dioxide.", True),
        ("words", "cold", "A scolding.", False),
        ("number", "12", "7 + 5 = 12.", True),
        ("number", "12", "12 is wrong, it is 13", False),
        ("number", "1200", "1,200", True),
        ("choice", "B", "The answer is B: apple", True),
        ("choice", "B", "A or B", False),
        ("json", "name", '```json\n{"name": "Anna"}\n```', True),
        ("json", "name", '["name"]', False),
        ("json", "name", "[" * 50_000, False),
        ("lines", "2", "red\n\nblue\n", True),
        ("lines", "2", "red and blue", False),
        ("upper", "HELLO", "HELLO!", True),
        ("upper", "HELLO", "Sure: HELLO", False),
    ],
)
def test_checks(check: str, expected: str, answer: str, right: bool) -> None:
    assert is_right(item(check, expected), answer) is right


def test_the_shipped_set_is_whole() -> None:
    items = ability_items()
    assert len(items) == 40
    assert len({item.id for item in items}) == 40
    assert len({item.question for item in items}) == 40
    assert not [item.id for item in items if is_right(item, "")]


def test_forgetting_is_base_minus_version() -> None:
    items = [item("words", "yes"), item("words", "no")]
    found = compare(items, ["yes", "no"], ["yes", "maybe"])
    assert found.lost is not None
    assert found.lost.value == 0.5
