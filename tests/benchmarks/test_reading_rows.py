"""Rows for a reader: nothing that an evaluation asks, the right source cited, and in the form that training takes."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from adapters.examples import read_examples
from benchmarks.answers_by_mode import Answers, Column, System
from benchmarks.reading_rows import prepare, row_of, seen_in, split_articles, without
from benchmarks.reading_set import contains_answer, read_articles, tasks_of

LETTERS = "ABCDEFGHIJKL"


def article(title: str, num_paragraphs: int = 5) -> dict[str, Any]:
    """Paragraph n says what n is, in its second sentence."""
    return {"title": title, "paragraphs": [paragraph(title, number) for number in range(num_paragraphs)]}


def paragraph(title: str, number: int) -> dict[str, Any]:
    text = f"This is part {number} of {title}. Its number is {title}-{number}, they say. It ends here."
    answer = {"text": f"{title}-{number}", "answer_start": text.index(f"{title}-{number}")}
    asked = {"id": f"{title}{number}", "question": f"Which number has part {number} of {title}?", "answers": [answer]}
    impossible = {
        "id": f"{title}{number}x",
        "question": f"Why {number} of {title}?",
        "answers": [],
        "is_impossible": True,
    }
    return {"context": text, "qas": [asked, impossible]}


ARTICLES = [article(letter * 3) for letter in LETTERS]


def write(path: Path, articles: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps({"data": articles}), encoding="utf-8")
    return path


def arguments(squad: Path, out: Path, **changes: object) -> argparse.Namespace:
    values = {"squad": squad, "never": [], "out": out, "rows": 20, "development": 6, "held_out": 0.0, "paragraphs": 4}
    more = {"answers": "span", "refusals": 0.0, "instructions": "Be brief.", "seed": 1}
    return argparse.Namespace(**{**values, **more, **changes})


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_question_is_shown_with_its_paragraph_among_others() -> None:
    tasks = list(tasks_of(ARTICLES, 4))
    assert len(tasks) == 60, "impossible questions are left out"
    for task in tasks:
        assert len(set(task.paragraphs)) == 4
        assert task.answers[0] in task.paragraphs[task.gold]
        assert task.paragraphs[task.gold][task.start :].startswith(task.answers[0])
    assert len({task.gold for task in tasks}) == 4
    assert list(tasks_of([article("short", 3)], 4)) == []


def test_rows_are_taken_by_training_and_cite_the_right_source(tmp_path: Path) -> None:
    prepare(arguments(write(tmp_path / "squad.json", ARTICLES), tmp_path / "rows", refusals=0.5))
    examples = read_examples(tmp_path / "rows" / "train.jsonl", "")
    assert len(examples) == 30
    answered = [example for example in examples if "[" in example.answer]
    assert len(answered) == 20
    for example in answered:
        said, _, number = example.answer.rstrip("].").partition(" [")
        assert said in example.conversation.sources[int(number) - 1].text
        assert example.conversation.instructions == "Be brief."
    for example in examples:
        if example not in answered:
            assert example.answer == "The sources do not say."
            part = example.conversation.turns[0].content.removeprefix("Which number has ").rstrip("?")
            assert not any(part in source.text for source in example.conversation.sources)


def test_a_sentence_is_quoted_with_the_marker_before_its_stop() -> None:
    task = next(iter(tasks_of(ARTICLES, 4)))
    messages: Any = row_of(task, "sentence", "")["messages"]
    assert messages[-1]["content"] == f" Its number is AAA-0, they say [{task.gold + 1}].".strip()


def test_training_and_development_share_no_article(tmp_path: Path) -> None:
    prepare(arguments(write(tmp_path / "squad.json", ARTICLES), tmp_path / "rows"))
    files = [tmp_path / "rows" / f"{name}.jsonl" for name in ("train", "development")]
    titles = [{row["sources"][0]["title"] for row in rows(file)} for file in files]
    assert titles[0]
    assert titles[1]
    assert not titles[0] & titles[1]


def test_what_an_evaluation_asks_is_never_trained_on(tmp_path: Path) -> None:
    """By title, by paragraph under another title, and by question alone."""
    renamed = {**ARTICLES[1], "title": "Other"}
    asked = {
        "title": "Third",
        "paragraphs": [{"context": "New text.", "qas": [ARTICLES[2]["paragraphs"][0]["qas"][0]]}],
    }
    never = write(tmp_path / "never.json", [article("AAA", 1), renamed, asked])
    left = without(ARTICLES, seen_in(read_articles(never)))
    assert [item["title"] for item in left] == [letter * 3 for letter in LETTERS[3:]]
    prepare(arguments(write(tmp_path / "squad.json", ARTICLES), tmp_path / "rows", never=[never]))
    assert not {row["sources"][0]["title"] for row in rows(tmp_path / "rows" / "train.jsonl")} & {"AAA", "BBB", "CCC"}
    with pytest.raises(SystemExit, match="No questions"):
        prepare(arguments(tmp_path / "squad.json", tmp_path / "rows", never=[tmp_path / "squad.json"]))


def test_one_file_can_be_held_apart(tmp_path: Path) -> None:
    prepare(arguments(write(tmp_path / "squad.json", ARTICLES), tmp_path / "rows", held_out=0.4))
    held_out = seen_in(read_articles(tmp_path / "rows" / "heldout.json"))
    trained, apart = split_articles(ARTICLES, 0.4)
    assert trained
    assert apart
    assert held_out == seen_in(apart)
    assert not held_out & seen_in(trained)


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("It is 12 [2].", True),
        ("It is 112 [12].", False),
        ("Nobody knows [12].", False),
        ("the Montreal, Protocol", True),
        ("montreal", False),
        ("", False),
    ],
)
def test_an_answer_counts_by_whole_words(text: str, *, is_right: bool) -> None:
    assert contains_answer(text, ("12", "The Montreal Protocol", "!")) is is_right


def test_answers_are_kept_and_only_of_the_same_run(tmp_path: Path) -> None:
    (task, *_), column = tasks_of(ARTICLES, 4), Column(System("base"), "blocks")
    first = Answers({"base": "1"}, tmp_path / "details.jsonl")
    first.open()
    first.add(column, task, "It is AAA-0 [1].")
    again = Answers({"base": "1"}, tmp_path / "details.jsonl")
    again.open()
    assert again.texts == {("base, blocks", "AAA0"): "It is AAA-0 [1]."}
    assert again.right(column, [task]) == [1.0]
    with pytest.raises(SystemExit, match="another run"):
        Answers({"base": "2"}, tmp_path / "details.jsonl").open()


@pytest.mark.parametrize("text", ["", "[]", '{"data": [{}]}', '{"data": [{"paragraphs": []}]}'])
def test_what_is_no_such_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"SQuAD's format"):
        read_articles(tmp_path / "x.json")
