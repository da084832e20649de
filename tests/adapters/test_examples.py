import json
from pathlib import Path

import pytest

from adapters.examples import Example, parse_examples, read_examples
from config.errors import BadRequestError
from config.prompt import Conversation, Source, Turn

QUESTION = {"role": "user", "content": "How long?"}
ANSWER = {"role": "assistant", "content": "Two years [1]."}
SOURCES = [{"title": "Warranty", "heading": "Terms", "text": "Two years."}, {"title": "Leave", "text": "26 days."}]


def line(*messages: object, **more: object) -> str:
    return json.dumps({"messages": list(messages), **more})


def only(text: str) -> Example:
    parsed = parse_examples([text], "Be brief.")
    assert parsed.problems == ()
    return parsed.examples[0]


def test_a_row_without_sources_takes_the_brands_instructions() -> None:
    example = only(line(QUESTION, {"role": "assistant", "content": "Two years."}))
    assert example == Example(Conversation((Turn("user", "How long?"),), (), "Be brief."), "Two years.", 1)


def test_a_rows_own_system_message_replaces_the_brands() -> None:
    assert (
        only(line({"role": "system", "content": "Be kind."}, QUESTION, ANSWER)).conversation.instructions == "Be kind."
    )


def test_sources_are_numbered_in_order() -> None:
    sources = only(line(QUESTION, ANSWER, sources=SOURCES)).conversation.sources
    assert sources == (Source(1, "Warranty", "Terms", "Two years."), Source(2, "Leave", "", "26 days."))


def test_only_the_last_answer_is_learned() -> None:
    example = only(line(QUESTION, ANSWER, {"role": "user", "content": "Since when?"}, ANSWER, sources=SOURCES))
    assert example.conversation.turns == (
        Turn("user", "How long?"),
        Turn("assistant", "Two years [1]."),
        Turn("user", "Since when?"),
    )


def test_openai_rows_with_parts_weights_and_foreign_keys_work_unchanged() -> None:
    parts = {
        "role": "user",
        "name": "x",
        "content": [{"type": "text", "text": "How "}, {"type": "text", "text": "long?"}],
    }
    example = only(line(parts, {"role": "assistant", "content": "Two years.", "weight": 1}, parallel_tool_calls=False))
    assert example.conversation.turns[0].content == "How long?"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "not a JSON object"),
        (json.dumps({"prompt": "x"}), "messages: field required"),
        (line(), "the last message is not the assistant's answer"),
        (line(QUESTION), "the last message is not the assistant's answer"),
        (line(ANSWER), "the message before the answer is not the user's"),
        (line(QUESTION, {"role": "assistant", "content": " "}), "the answer is empty"),
        (line({"role": "user", "content": ""}, ANSWER), "the last question is empty"),
        (line(QUESTION, {**ANSWER, "weight": 0}), "weight 0"),
        (line({"role": "tool", "content": "x"}, ANSWER), "messages.0.role"),
        (line(QUESTION, {"role": "assistant", "tool_calls": []}), "messages.1.content"),
        (line(QUESTION, {**ANSWER, "content": "No [3], no [9]."}, sources=SOURCES), "cites [3], [9]; the row has 2"),
        (line(QUESTION, ANSWER, sources=[{"title": "x"}]), "sources.0.text"),
    ],
)
def test_a_bad_row_is_refused_with_its_reason(row: str, reason: str) -> None:
    parsed = parse_examples([line(QUESTION, ANSWER), "", row], "")
    assert len(parsed.examples) == 1
    assert [problem.line for problem in parsed.problems] == [3]
    assert reason in parsed.problems[0].reason


def test_all_bad_rows_of_a_file_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([line(QUESTION), line(QUESTION, ANSWER), "{"]), encoding="utf-8")
    with pytest.raises(BadRequestError, match=r"2 bad rows:\n  line 1: .*\n  line 3: "):
        read_examples(path, "")


@pytest.mark.parametrize(("content", "message"), [(b"\n\n", "has no rows"), (b"\xff\xfe", "cannot be read")])
def test_a_file_without_rows_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadRequestError, match=message):
        read_examples(path, "")
