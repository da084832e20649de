"""Question files: what is read, and what is refused with its line."""

import json
from pathlib import Path

import pytest

from config.errors import BadRequestError
from config.settings import SAMPLE
from server.evaluation.questions import Expected, Question, read_questions


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_documents_texts_and_unanswerable_questions(tmp_path: Path) -> None:
    rows = [
        '{"id": "a", "question": "one?", "relevant": [{"document": "x.md"}, {"document": "y.md", "text": "26 days"}]}',
        "",
        '{"id": "b", "question": "two?", "relevant": [{"document": "y.md", "text": ["E26", "9 hours"]}]}',
        '{"id": "c", "question": "three?"}',
        '{"id": "d", "question": "four?", "relevant": []}',
    ]
    assert read_questions(written(tmp_path, *rows)) == (
        Question("a", "one?", (Expected("x.md"), Expected("y.md", ("26 days",)))),
        Question("b", "two?", (Expected("y.md", ("E26", "9 hours")),)),
        Question("c", "three?", ()),
        Question("d", "four?", ()),
    )


def test_an_expectation_passes_over_case_and_spacing_but_not_the_document() -> None:
    expected = Expected("y.md", ("26  Days", "Leave"))
    assert expected.is_met_by("y.md", "annual\nLEAVE is 26 days")
    assert not expected.is_met_by("y.md", "annual leave is 27 days")
    assert not expected.is_met_by("x.md", "annual leave is 26 days")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "line 2"),
        ('{"id": "a", "question": ""}', "question"),
        ('{"id": "a", "question": "q", "relavant": []}', "relavant"),
        ('{"id": "a", "question": "q", "relevant": [{"text": "t"}]}', "relevant.0.document"),
        ('{"id": "a", "question": "\\ud800"}', "line 2"),
        ('{"id": "first", "question": "again"}', "two questions with the id 'first'"),
        ("[" * 100_000, "line 2"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(BadRequestError, match=message):
        read_questions(written(tmp_path, '{"id": "first", "question": "fine"}', line))


def test_empty_absent_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="has no questions"):
        read_questions(written(tmp_path))
    with pytest.raises(BadRequestError, match="cannot be read"):
        read_questions(tmp_path / "none.jsonl")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadRequestError, match="cannot be read"):
        read_questions(tmp_path / "binary")


def test_pairs_give_their_questions_that_are_not_trained_on(tmp_path: Path) -> None:
    pair = {
        "id": "p1",
        "split": "heldout",
        "messages": [
            {"role": "user", "content": "How long is the H5 covered?"},
            {"role": "assistant", "content": "Five years."},
            {"role": "user", "content": "and its compressor?"},
            {"role": "assistant", "content": "Ten [1]."},
        ],
        "documents": ["h5.md"],
        "evidence": ["ten years"],
    }
    lines = [
        json.dumps(row)
        for row in (pair, {**pair, "id": "p2", "split": "train"}, {**pair, "id": "p3", "split": "development"})
    ]
    found = read_questions(written(tmp_path, *lines))
    assert [item.id for item in found] == ["p1", "p3"]
    assert found[0].text == "How long is the H5 covered?\nand its compressor?"
    assert found[0].relevant == (Expected("h5.md", ("ten years",)),)


@pytest.mark.parametrize("brand", ["halden", "pipkin"])
def test_the_sample_companys_pairs_are_questions_of_both_kinds(brand: str) -> None:
    found = read_questions(SAMPLE / "examples" / f"{brand}-pairs.jsonl")
    assert sum(item.is_answerable for item in found) > 100
    assert sum(not item.is_answerable for item in found) > 40
