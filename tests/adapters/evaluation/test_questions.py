import json
from pathlib import Path

import pytest

from adapters.evaluation.questions import read_questions
from config.errors import BadRequestError
from tests.adapters.evaluation.small import REFUSAL, brand


def row(answer: str = "Dear reader: 4 [1].\nYours", **more: object) -> dict[str, object]:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How many?"},
        {"role": "assistant", "content": answer},
    ]
    return {"messages": messages, **more}


def written(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(item if isinstance(item, str) else json.dumps(item) for item in rows), encoding="utf-8")
    return path


def test_pairs_prepared_rows_and_plain_chat_rows_are_read(tmp_path: Path) -> None:
    path = written(
        tmp_path / "x.jsonl",
        row(split="train"),
        row(split="heldout", id="h1", documents=["a.md"], fact="four"),
        row(id=7, documents=[]),
        row(REFUSAL),
        row(),
        row(id="p1-withheld"),
    )
    found = read_questions(path, brand())
    assert [item.id for item in found] == ["h1", "7", "4", "5"]
    assert [item.is_answerable for item in found] == [True, False, False, True]
    assert [item.fact for item in found] == ["four", "", "", "4"]
    assert [len(item.turns) for item in found] == [1, 1, 1, 1]
    assert len(read_questions(path, brand(), "train")) == 4


def test_bad_rows_are_listed_with_line_and_reason(tmp_path: Path) -> None:
    bad = {"messages": [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Hm?"}]}
    path = written(
        tmp_path / "x.jsonl", "{", bad, {"messages": [{"role": "tool", "content": "x"}]}, "[" * 99_999, row()
    )
    with pytest.raises(BadRequestError) as error:
        read_questions(path, brand())
    for text in ("line 1: not valid JSON", "line 2: the last two", "line 3: messages", "line 4: not valid JSON"):
        assert text in error.value.message


def test_a_file_without_the_split_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="split 'heldout'"):
        read_questions(written(tmp_path / "x.jsonl", row(split="train")), brand())
    with pytest.raises(BadRequestError, match="cannot be read"):
        read_questions(tmp_path / "none.jsonl", brand())
