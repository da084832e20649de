"""Properties of the chunker: nothing lost, nothing too long, tables and locations kept."""

import re

from hypothesis import given
from hypothesis import strategies as st

from ingest.chunk import ChunkSizes, chunk_document, embedding_text
from ingest.documents import Block, ParsedDocument
from ingest.embed import HashEmbedder
from ingest.parse.table import table_lines

EMBEDDER = HashEmbedder(max_tokens=60)
SIZES = ChunkSizes(30, EMBEDDER.max_tokens, lambda text: len(text.split()), EMBEDDER.count_tokens)

words = st.text(st.characters(codec="utf-8", categories=("Lu", "Ll", "Nd", "Po", "So", "Lo")), min_size=1, max_size=40)
prose = st.lists(words, min_size=1, max_size=90).flatmap(
    lambda found: st.lists(
        st.sampled_from([" ", " ", " ", ". ", "\n", "\n\n"]), min_size=len(found), max_size=len(found)
    ).map(lambda gaps: "".join(word + gap for word, gap in zip(found, gaps, strict=True)).strip())
)
blocks = st.builds(
    Block,
    text=prose,
    heading_path=st.sampled_from([(), ("A",), ("A", "B"), ("A", "C"), ("D" * 150, "E" * 150)]),
    location=st.sampled_from(["", "page 1", "page 2"]),
    is_table=st.booleans(),
)
documents = st.lists(blocks, max_size=8).map(lambda found: ParsedDocument("A title", tuple(found), "text/plain"))


def squeezed(text: str) -> str:
    return "".join(text.split())


@given(documents)
def test_no_text_is_lost_or_reordered(document: ParsedDocument) -> None:
    """The only words that chunks add are headings of small sections that were put together."""
    drafts = chunk_document(document, SIZES)
    rest = iter(squeezed("".join(draft.text for draft in drafts)))
    assert all(character in rest for character in squeezed("".join(block.text for block in document.blocks)))


@given(prose)
def test_one_section_comes_back_exactly(text: str) -> None:
    document = ParsedDocument("T", (Block(text, ("H",)),), "text/plain")
    assert squeezed("".join(draft.text for draft in chunk_document(document, SIZES))) == squeezed(text)


@given(documents)
def test_chunks_fit_the_model_and_the_embedder(document: ParsedDocument) -> None:
    for draft in chunk_document(document, SIZES):
        assert draft.num_tokens == SIZES.count_tokens(draft.text) <= SIZES.target_tokens
        read = embedding_text(document.title, draft.heading_path, draft.text, SIZES)
        assert SIZES.count_pieces(read) <= SIZES.max_pieces


@given(documents)
def test_chunks_never_cross_a_location(document: ParsedDocument) -> None:
    for location in ("", "page 1", "page 2"):
        inside = squeezed("".join(block.text for block in document.blocks if block.location == location))
        rest = iter(squeezed("".join(d.text for d in chunk_document(document, SIZES) if d.location == location)))
        assert all(character in rest for character in inside)


def table(num_rows: int) -> Block:
    rows = [["Article", "Price"], *([f"Pod {number}", f"{number} EUR"] for number in range(num_rows))]
    return Block("\n".join(table_lines(rows)), ("Prices",), f"List!A3:B{num_rows + 3}", is_table=True)


def test_every_part_of_a_table_names_its_columns_and_its_cells() -> None:
    drafts = chunk_document(ParsedDocument("P", (table(20),), "text/csv"), SIZES)
    assert len(drafts) > 2
    next_row = 4
    for draft in drafts:
        lines = draft.text.split("\n")
        assert all(re.fullmatch(r"Article: Pod \d+; Price: \d+ EUR", line) for line in lines)
        assert draft.location == f"List!A{next_row}:B{next_row + len(lines) - 1}"
        next_row += len(lines)
    assert next_row == 24


def test_parts_are_even() -> None:
    """Not one full chunk and a remainder of two words."""
    text = "\n".join(f"- item {number} of it" for number in range(7))
    sizes = [draft.num_tokens for draft in chunk_document(ParsedDocument("P", (Block(text),), "x"), SIZES)]
    assert max(sizes) - min(sizes) <= 5


def test_small_brothers_are_joined_with_their_headings() -> None:
    small = (Block("Yes.", ("FAQ", "Is it free?")), Block("No.", ("FAQ", "Is it loud?")))
    drafts = chunk_document(ParsedDocument("P", small, "x"), SIZES)
    assert [draft.text for draft in drafts] == ["Is it free?\nYes.\n\nIs it loud?\nNo."]
    assert drafts[0].heading_path == ("FAQ",)


def test_cousins_and_other_pages_are_not_joined() -> None:
    apart = (Block("Yes.", ("A", "x")), Block("No.", ("B", "y")), Block("So.", ("B", "z"), "page 2"))
    assert len(chunk_document(ParsedDocument("P", apart, "x"), SIZES)) == 3


def test_sentences_stay_whole_where_they_fit() -> None:
    sentences = [f"Sentence number {number} has seven words." for number in range(20)]
    drafts = chunk_document(ParsedDocument("P", (Block(" ".join(sentences)),), "x"), SIZES)
    assert all(draft.text.endswith("words.") and draft.text.startswith("Sentence") for draft in drafts)


def test_a_megabyte_in_one_line_is_cut_in_time() -> None:
    text = "x" * 300_000 + " " + "word " * 100_000
    drafts = chunk_document(ParsedDocument("P", (Block(text),), "x"), SIZES)
    assert squeezed("".join(draft.text for draft in drafts)) == squeezed(text)


def test_an_over_long_context_keeps_its_end() -> None:
    read = embedding_text("T " * 100, ("far", "near"), "body", SIZES)
    assert read.endswith("near\nbody")
    assert SIZES.count_pieces(read) < SIZES.max_pieces
