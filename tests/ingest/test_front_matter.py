"""Lists in a YAML head."""

import pytest

from ingest.documents import ParsedDocument
from ingest.parse.front_matter import MAX_ITEM_CHARACTERS, MAX_ITEMS, read_list
from ingest.parse.markdown import parse


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
    assert read_list(head, "tags") == ("hr", "travel costs")


@pytest.mark.parametrize(
    "head", ["", "tagged: hr", "tags:", "tags: []", "tags\n- hr", "  - hr", "note: about tags: hr"]
)
def test_no_list(head: str) -> None:
    assert read_list(head, "tags") == ()


def test_a_hostile_list_is_cut() -> None:
    assert len(read_list("tags: " + ", ".join(map(str, range(10_000))), "tags")) == MAX_ITEMS
    assert read_list("tags: " + "x" * (MAX_ITEM_CHARACTERS + 1), "tags") == ()


def test_markdown_hands_them_on() -> None:
    data = b"---\ntitle: Rates\ntags: [hr]\nsupersedes: old/rates.md\n---\n# Rates\n\nText.\n"
    found: ParsedDocument = parse(data, "rates.md")
    assert (found.title, found.tags, found.supersedes) == ("Rates", ("hr",), ("old/rates.md",))
