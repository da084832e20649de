"""Pairs get the sources that retrieval finds: with stated documents, without any, and what no source holds."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.datadir import DataDirectory
from config.errors import BadRequestError
from config.settings import load_settings
from ingest.embed import HashEmbedder
from ingest.store import FactStore
from server.prepare import PreparedRow, Preparer, read_pairs, write_rows
from server.retrieval import Retriever

REFUSAL = "Not in our documents."
PAGES = {
    "leave.md": "# Leave\n\nFull-time employees receive 26 days of paid annual leave.\n",
    "laptop.md": "# Laptops\n\nA new laptop is ordered from Priya Raman, and comes within 9 days.\n",
    "canteen.md": "# Canteen\n\nThe canteen opens at noon, and lunch is paid by card.\n",
}


@pytest.fixture
def preparer(tmp_path: Path) -> Iterator[Preparer]:
    settings = load_settings(environment={})
    pages = tmp_path / "pages"
    pages.mkdir()
    for name, text in PAGES.items():
        (pages / name).write_text(text, encoding="utf-8")
    store = FactStore.open(
        DataDirectory(tmp_path / "data"), settings.ingest, HashEmbedder(), lambda text: len(text.split())
    )
    store.ingest(pages, "kb")
    retrieval = settings.retrieval.model_copy(update={"relevance_floor": 0.0})
    yield Preparer(store, Retriever(store, retrieval), ("kb",), REFUSAL)
    store.close()


def prepared(preparer: Preparer, folder: Path, *rows: dict[str, object]) -> list[PreparedRow]:
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return preparer.prepare(read_pairs(file, "train"), force_gold=True)


def pair(question: str, answer: str, **more: object) -> dict[str, object]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": turns, **more}


def test_a_pair_without_documents_gets_the_source_that_holds_its_facts(preparer: Preparer, tmp_path: Path) -> None:
    [row] = prepared(preparer, tmp_path, pair("How many days of annual leave?", "You have 26 days [1], enjoy!"))
    assert row.pair.documents == ("leave.md",)
    cited = next(source for source in row.sources if "26 days" in source.text)
    assert row.answer == f"You have 26 days [{cited.number}], enjoy!"
    assert preparer.unsupported == []


def test_names_are_facts_too(preparer: Preparer, tmp_path: Path) -> None:
    [row] = prepared(preparer, tmp_path, pair("Who orders a laptop?", "Just write to Priya Raman about it."))
    assert row.pair.documents == ("laptop.md",)


def test_facts_that_no_source_holds_are_not_memorised(preparer: Preparer, tmp_path: Path) -> None:
    rows = prepared(
        preparer,
        tmp_path,
        pair("How many days of annual leave?", "You have 31 days.", id="wrong"),
        pair("How many days of annual leave?", "You have 26 days.", id="right"),
    )
    assert [row.pair.id for row in rows] == ["right"]
    assert preparer.unsupported == ["wrong"]


def test_an_answer_without_facts_keeps_its_words_and_gets_sources(preparer: Preparer, tmp_path: Path) -> None:
    [row] = prepared(preparer, tmp_path, pair("How do I pay for lunch in the canteen?", "Gladly: by card."))
    assert row.sources
    assert row.answer == "Gladly: by card."


def test_a_refusal_stays_one(preparer: Preparer, tmp_path: Path) -> None:
    [row] = prepared(preparer, tmp_path, pair("Which laptop has the best screen?", REFUSAL))
    assert (row.pair.documents, row.answer) == ((), REFUSAL)
    assert row.sources


def test_rows_carry_the_brands_instructions_instead_of_their_own(preparer: Preparer, tmp_path: Path) -> None:
    given = pair("How many days of annual leave?", "26 days.")
    given["messages"] = [{"role": "system", "content": "You are a bot."}, *given["messages"]]  # type: ignore[misc]
    write_rows(tmp_path / "rows.jsonl", prepared(preparer, tmp_path, given), "Reply as the house.")
    [written] = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [message["content"] for message in written["messages"]] == [
        "Reply as the house.",
        "How many days of annual leave?",
        "26 days.",
    ]
    assert written["documents"] == ["leave.md"]


def test_answerable_rows_come_again_without_their_source_as_refusals(preparer: Preparer, tmp_path: Path) -> None:
    rows = prepared(preparer, tmp_path, pair("How many days of annual leave?", "You have 26 days."))
    [withheld] = preparer.withhold(rows, share=1.0, seed=1)
    assert withheld.answer == REFUSAL
    assert not any("26 days" in source.text for source in withheld.sources)


def test_blank_lines_and_line_separators_inside_json_are_no_rows(tmp_path: Path) -> None:
    """str.splitlines cut a row at U+2028, which JSON text may hold as it is."""
    file = tmp_path / "pairs.jsonl"
    row = json.dumps(pair("One\u2028two?", "Three."), ensure_ascii=False)
    file.write_text(f"\ufeff{row}\r\n\n", encoding="utf-8")
    [read] = read_pairs(file, "train")
    assert read.turns[-1].content == "One\u2028two?"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match=r"missing\.jsonl cannot be read"):
        read_pairs(tmp_path / "missing.jsonl", "train")
