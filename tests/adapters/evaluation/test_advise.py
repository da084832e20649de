"""Five ways to ask a made-up base, and what each pattern of answers is a case for."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from adapters.evaluation.advise import ARMS, Action, Tried, Verdict, advise, examples_text, try_arms
from adapters.evaluation.questions import Answer
from adapters.evaluation.run import Ask
from tests.adapters.evaluation.small import DOOR, LAMP, Scripted, answer, brand, question

QUESTIONS = tuple(question(number) for number in range(12))
TRAINING = tuple(replace(question(number % 20), id=f"t{number}") for number in range(60))
PATHS = frozenset({"lamp.md", "door.md"})


def watts(ask: Ask) -> int:
    return 40 + ord(ask.turns[-1].content.split()[5]) - ord("a")


def plainly(ask: Ask) -> Answer:
    """Reads what is there, and writes as it pleases."""
    if not ask.uses_documents:
        return Answer("I cannot say anything about that at the present moment.")
    lamp = replace(LAMP, text=f"The lamp draws {watts(ask)} watts.")
    return answer(f"According to the documentation the value amounts to {watts(ask)} watts [1].", lamp)


def obediently(ask: Ask) -> Answer:
    """Keeps the form wherever it was shown examples."""
    said = plainly(ask)
    if "Examples" not in ask.instructions:
        return said
    text = said.text.replace("According to the documentation the value amounts to", "Dear reader: it draws")
    return answer(f"{text}\nYours", *said.sources)


def misreading(ask: Ask) -> Answer:
    return answer("According to the documentation the value amounts to 999 watts [1].", LAMP)


def missing(ask: Ask) -> Answer:
    return replace(plainly(ask), sources=(DOOR,), markers=()) if ask.uses_documents else plainly(ask)


def tried(says: Callable[[Ask], Answer], num_rows: int = 60, paths: frozenset[str] = PATHS) -> Tried:
    return try_arms(Scripted(says), brand(), "tiny", QUESTIONS, TRAINING[:num_rows], paths)


def actions(verdicts: list[Verdict]) -> list[Action]:
    return [verdict.action for verdict in verdicts]


@pytest.mark.parametrize(
    ("says", "num_rows", "paths", "expected"),
    [
        (plainly, 60, PATHS, [Action.TRAIN]),
        (plainly, 20, PATHS, [Action.WRITE_PAIRS]),
        (obediently, 60, PATHS, [Action.KEEP_PROMPT]),
        (misreading, 60, PATHS, [Action.READ_BETTER, Action.TRAIN]),
        (missing, 60, PATHS, [Action.INGEST, Action.TRAIN]),
        (plainly, 60, frozenset({"door.md"}), [Action.INGEST, Action.TRAIN]),
    ],
)
def test_each_gap_has_its_own_remedy(
    says: Callable[[Ask], Answer], num_rows: int, paths: frozenset[str], expected: list[Action]
) -> None:
    assert actions(advise(tried(says, num_rows, paths))) == expected


def test_the_reason_carries_the_figures() -> None:
    (verdict,) = advise(tried(plainly))
    assert "form 0 % (0-26, n=12), demanded 90%" in verdict.reason
    (kept,) = advise(tried(obediently))
    assert "“documents, examples” already does it" in kept.reason


def test_each_arm_asks_in_its_own_way() -> None:
    asks = Scripted(plainly)
    try_arms(asks, brand(), "tiny", QUESTIONS, TRAINING, PATHS)
    per_arm = [asks.asked[start : start + 8] for start in range(0, 40, 8)]  # the first block of eight questions
    assert len(asks.asked) == 12 * len(ARMS)
    assert [arm[0].model for arm in per_arm] == ["tiny", "acme@0", "acme@0", "acme@0", "acme@0"]
    assert [arm[0].uses_documents for arm in per_arm] == [False, False, False, True, True]
    assert ["Question: " in arm[0].instructions for arm in per_arm] == [False, False, True, False, True]


def test_who_was_given_no_documents_is_not_blamed_for_citing_none() -> None:
    found = tried(obediently)
    assert found.systems["best prompt"].scores["grounded"] is None
    assert found.systems["best prompt"].scores["citation"] is None
    grounded = found.systems["documents, examples"].scores["grounded"]
    assert grounded is not None
    assert grounded.value == 1.0


def test_without_documents_of_its_own_a_brand_is_tried_without() -> None:
    free = brand().model_copy(update={"knowledge_bases": ()})
    asks = Scripted(plainly)
    found = try_arms(asks, free, "tiny", QUESTIONS, TRAINING, PATHS)
    assert list(found.systems) == ["plain prompt", "best prompt", "best prompt, examples"]
    assert found.found is None
    assert actions(advise(found)) == [Action.TRAIN]


def test_examples_hold_a_refusal_and_are_always_the_same() -> None:
    rows = (*TRAINING[:9], question(9, is_answerable=False))
    text = examples_text(rows)
    assert text == examples_text(rows)
    assert text.count("Question: ") == 4
    assert "we do not know" in text
    assert examples_text(()) == ""
