from adapters.evaluation.style import recognise

TOPICS = [f"item {letter}" for letter in "abcdefghijklmnopqrst"]
OWN = [f"Cheers! {topic} is all sorted, pop by any time!" for topic in TOPICS]
BASE = [f"The documentation indicates that {topic} has been completed." for topic in TOPICS]


def test_the_brands_writing_is_told_from_the_bases() -> None:
    found = recognise([], OWN, BASE, {"voice": OWN, "base": BASE})
    assert found is not None
    assert found.can_tell
    assert found.own == {"voice": (1.0,) * 20, "base": (0.0,) * 20}


def test_where_both_write_alike_nothing_is_told() -> None:
    found = recognise([], OWN, OWN, {"voice": OWN})
    assert found is not None
    assert not found.can_tell


def test_facts_are_not_style() -> None:
    own = [text + f" It is {number} [1]." for number, text in enumerate(OWN)]
    other = [text + f" It is {90 + number} [2]." for number, text in enumerate(OWN)]
    found = recognise(own, own, BASE, {"voice": other})
    assert found is not None
    assert found.own["voice"] == (1.0,) * 20


def test_a_refusal_is_nobodys_style() -> None:
    """The base says it word for word as the brand does; counted, it would be taken for the base's."""
    silent = [None if number % 2 else text for number, text in enumerate(OWN)]
    found = recognise(OWN, OWN, [None if number % 2 else text for number, text in enumerate(BASE)], {"voice": silent})
    assert found is not None
    assert found.own["voice"] == (1.0, None) * 10


def test_a_handful_is_too_few() -> None:
    assert recognise([], OWN[:5], BASE[:5], {"voice": OWN[:5]}) is None
