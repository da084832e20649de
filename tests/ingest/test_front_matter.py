"""Lists in a YAML head."""

import pytest

from ingest.access.statements import Statement
from ingest.documents import ParsedDocument
from ingest.parse.front_matter import MAX_ITEM_CHARACTERS, MAX_ITEMS, MAX_UNCLOSED_LINES, read_list, split_head
from ingest.parse.markdown import parse


def tags(head: str) -> tuple[str, ...]:
    found = split_head(f"---\n{head}\n---\n")
    assert found is not None
    assert found.is_closed
    return read_list(found, "tags")


@pytest.mark.parametrize(
    "head",
    [
        "tags: hr, travel costs",
        "tags: [hr, 'travel costs']  # for the search",
        'title: x\ntags : [ "hr",travel costs ]\nother: y',
        "tags:\n  - hr\n  - travel costs # both\nother:\n  - z",
        "tags:\n- hr\n- hr\n- travel  costs\n",
    ],
)
def test_three_ways_to_write_a_list(head: str) -> None:
    assert tags(head) == ("hr", "travel costs")


@pytest.mark.parametrize(
    "head", ["", "tagged: hr", "tags:", "tags: []", "tags\n- hr", "  - hr", "note: about tags: hr", "meta:\n  tags: hr"]
)
def test_no_list(head: str) -> None:
    assert tags(head) == ()


def test_a_hostile_list_is_cut() -> None:
    assert len(tags("tags: " + ", ".join(map(str, range(10_000))))) == MAX_ITEMS
    assert tags("tags: " + "x" * (MAX_ITEM_CHARACTERS + 1)) == ()


def test_markdown_hands_them_on() -> None:
    data = b"---\ntitle: Rates\ntags: [hr]\nsupersedes: old/rates.md\n---\n# Rates\n\nText.\n"
    found: ParsedDocument = parse(data, "rates.md")
    assert (found.title, found.tags, found.supersedes) == ("Rates", ("hr",), ("old/rates.md",))


def test_head_and_body_meet_at_the_second_line_of_dashes() -> None:
    head = split_head("\ufeff--- \n  title: T\n  tags: hr\n...\nText.\n---\nMore.\n")
    assert head is not None
    assert (head.lines, head.body) == (("title: T", "tags: hr"), "Text.\n---\nMore.\n")
    empty = split_head("---\n---\nText.\n---\n")
    assert empty is not None
    assert (empty.lines, empty.body) == (("",), "Text.\n---\n")
    assert split_head("Text.\n---\n") is None


def test_a_head_that_is_not_closed_is_text_that_may_still_say_who_reads_it() -> None:
    found = parse(b"---\ntitle: Pay\ntags: hr\naccess: [hr]\n\nSalaries.\n", "pay.md")
    assert found.tags == ()
    assert any("Salaries" in block.text for block in found.blocks)
    assert found.access is not None
    assert found.access.groups == ()
    assert "not closed" in found.access.problem


def test_an_access_line_is_found_however_long_the_head_and_whatever_ends_its_lines() -> None:
    lines = "\n".join(f"key{number}: x" for number in range(2 * MAX_UNCLOSED_LINES))
    for text in (f"---\n{lines}\naccess: hr\n---\nText.\n", "---\raccess: hr\r---\rText.\r"):
        assert parse(text.encode(), "pay.md").access == Statement(("hr",))
