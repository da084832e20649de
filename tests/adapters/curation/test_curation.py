"""Example sets with one fault each: found, named by its line, mended where that needs no judgement."""

import csv
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from adapters.curation.checks import Kind
from adapters.curation.curate import CLEAN_FILE, SPLIT_FILE, Curated, curate, write_curated
from adapters.curation.page import render_page
from adapters.curation.rows import read_rows
from adapters.examples import read_examples
from config.brands import Brand, FormatRules
from config.errors import BadRequestError

BRAND = Brand(
    name="pip",
    knowledge_bases=("kb",),
    refusal="Sorry, no idea.",
    format=FormatRules(banned=("Hooray",), max_words=40),
)
WORDS = [
    "amber",
    "basil",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heron",
    "ivory",
    "jetty",
    "kiosk",
    "lotus",
    "maple",
    "north",
    "ocean",
    "pearl",
    "quill",
    "raven",
]


def row(number: int, **more: object) -> dict[str, Any]:
    """Rows that have nothing in common but their form."""
    first, second = WORDS[number % 18], WORDS[number // 18 % 18]
    question, answer = f"Where is {first} {second} box {number}?", f"It stands in hall {first} {second} {number}."
    return {
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
        **more,
    }


def said(question: str, answer: str, **more: object) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **more}


def follow_up(number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Yes?"}]
    return {"messages": [*messages, *row(number)["messages"]]}


LONG = "How do I pack a pod for a long trip over the weekend without losing the cold inside of it?"
PACKED = "Cool the pod for six hours, fill it to the top, and close the lid."
GOOD = [
    said(LONG, PACKED),
    *(row(number) for number in range(110)),
    follow_up(300),
    *(said(f"{w} {v}?", BRAND.refusal) for w, v in itertools.pairwise(WORDS)),
]


def curated(tmp_path: Path, rows: Sequence[Mapping[str, Any]], **options: Any) -> Curated:
    file = tmp_path / "examples.jsonl"
    file.write_text("".join(json.dumps(item) + "\n" for item in rows), encoding="utf-8")
    return curate(file, options.pop("held_out", None), BRAND, options.pop("share", 0.0), 7)


def found(result: Curated) -> list[tuple[Kind, int]]:
    return [(finding.kind, finding.line) for finding in result.findings]


def test_a_good_set_has_nothing(tmp_path: Path) -> None:
    result = curated(tmp_path, GOOD)
    assert found(result) == []
    assert not result.must_stop
    assert len(result.kept) == len(GOOD)


SOURCES = [{"title": "Box list", "text": "Box 7 holds 12 lamps of Ada Brightwell."}]
LAST = len(GOOD) + 1


@pytest.mark.parametrize(
    ("extra", "kind"),
    [
        (row(3), Kind.DUPLICATE),
        (said(LONG.replace("weekend", "whole weekend"), PACKED), Kind.NEAR_DUPLICATE),
        (
            said(row(3)["messages"][0]["content"], "It was moved to shelf 88 in the cellar last week."),
            Kind.CONTRADICTION,
        ),
        (said("How do I open it?", "word " * 39), Kind.LENGTH),
        (said("What is in box 7?", "It holds 13 lamps.", sources=SOURCES), Kind.UNSUPPORTED),
        (said("Whose is box 7?", "It belongs to Ada Nightshade.", sources=SOURCES), Kind.UNSUPPORTED),
        (said("Who helps?", "Write to ada.brightwell@acme.example for help."), Kind.PRIVATE),
        (said("The key?", "Use sk-abcdefghij0123456789 for that."), Kind.PRIVATE),
        (said("Card?", "We charged 4111 1111 1111 1111 for it."), Kind.PRIVATE),
        (said("Is it open?", "Hooray, it is open all day."), Kind.FORMAT),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_one_fault_is_found_and_named(tmp_path: Path, extra: dict[str, Any], kind: Kind) -> None:
    result = curated(tmp_path, [*GOOD, extra])
    assert found(result) == [(kind, LAST)]
    assert len(result.kept) == LAST - (kind is Kind.DUPLICATE)


@pytest.mark.parametrize(
    "extra",
    [
        said("What is in box 7?", "It holds 12 lamps of Ada Brightwell [1].", sources=SOURCES),
        said("What was in it?", BRAND.refusal, sources=SOURCES),
        said("Order number?", "Your order is 1234 5678 9012 3456 7."),
    ],
)
def test_what_is_right_is_left_alone(tmp_path: Path, extra: dict[str, Any]) -> None:
    assert found(curated(tmp_path, [*GOOD, extra])) == []


def test_a_leak_leaves_training_and_stays_held_out(tmp_path: Path) -> None:
    held_out = tmp_path / "heldout.jsonl"
    held_out.write_text(json.dumps(row(3)) + "\n" + json.dumps(row(250)) + "\n", encoding="utf-8")
    result = curated(tmp_path, GOOD, held_out=held_out)
    assert found(result) == [(Kind.LEAK, 5)]
    assert not result.must_stop
    assert [item.line for item in result.kept if item.split == "heldout"] == [LAST, LAST + 1]
    assert 5 not in {item.line for item in result.kept}


def test_too_few_rows_stop(tmp_path: Path) -> None:
    result = curated(tmp_path, GOOD[100:])
    assert result.must_stop
    assert (Kind.TOO_FEW, 0) in found(result)


def test_a_voice_without_refusals_or_follow_ups_is_told(tmp_path: Path) -> None:
    assert found(curated(tmp_path, GOOD[:111])) == [(Kind.COVERAGE, 0), (Kind.COVERAGE, 0)]


def test_what_cannot_be_read_costs_itself_alone(tmp_path: Path) -> None:
    file = tmp_path / "mixed.jsonl"
    lines = ["{", "[1]", '{"text": "x"}', '{"messages": []}', json.dumps(row(1)), "", json.dumps(said("a", ""))]
    file.write_text("\n".join(lines), encoding="utf-8")
    rows, problems = read_rows(file)
    assert [item.line for item in rows] == [5]
    assert [problem.line for problem in problems] == [1, 2, 3, 4, 7]
    assert "neither messages" in problems[2].reason


def test_pairs_and_tables_become_chats_and_lose_nothing(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"prompt": " Why? ", "completion": " Because.", "topic": "x"}) + "\n", encoding="utf-8")
    table = tmp_path / "table.csv"
    with table.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=";").writerows([["Question", "Answer", "topic"], ["Why?", "Because.", "x"]])
    for path in (pairs, table):
        ((only,), problems) = read_rows(path)
        assert problems == []
        assert only.value == {**said("Why?", "Because."), "topic": "x"}


def test_a_table_without_answers_is_named(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(BadRequestError, match="columns a, b"):
        read_rows(table)


def test_the_split_is_stable_and_frozen(tmp_path: Path) -> None:
    first = curated(tmp_path, GOOD, share=0.3)
    file = write_curated(first, tmp_path / "out")
    held = {item.question for item in first.kept if item.split == "heldout"}
    assert 15 < len(held) < 60
    more = curated(tmp_path, [row(200), *GOOD[5:]], share=0.3)
    assert {item.question for item in more.kept if item.split == "heldout"} - {
        row(200)["messages"][0]["content"]
    } <= held
    write_curated(more, tmp_path / "out")
    assert (tmp_path / "out" / SPLIT_FILE).exists()
    assert read_examples(tmp_path / "out" / CLEAN_FILE, "")
    with pytest.raises(BadRequestError, match="holds out are in training"):
        write_curated(curated(tmp_path, [{**item, "split": "train"} for item in GOOD]), file.parent)


def test_the_page_holds_all_rows_and_nothing_breaks_out_of_it(tmp_path: Path) -> None:
    page = render_page(curated(tmp_path, [*GOOD, said("</script><b>x", "<!-- Hooray")]), "<i>set")
    data = page.partition('id="data">')[2].partition("</script>")[0]
    assert len(json.loads(data)["rows"]) == LAST
    assert "<" not in data


def test_a_line_separator_inside_a_text_does_not_cut_its_row(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    given = row(1)
    given["messages"][0]["content"] = "One\u2028two?"
    file.write_text(json.dumps(given, ensure_ascii=False) + "\n", encoding="utf-8")
    rows, problems = read_rows(file)
    assert ([item.question for item in rows], problems) == (["One\u2028two?"], [])
