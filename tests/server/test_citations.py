"""Citations: renumbering, dropping, and that cutting the stream differently changes nothing."""

from hypothesis import given
from hypothesis import strategies as st

from server.citations import Citable, Citation, CitationMapper

CITABLES = {
    1: Citable("a", "a1", "A", "page 1"),
    2: Citable("b", "b1", "B", ""),
    3: Citable("a", "a2", "A", "page 2"),
}
ANSWER_LIKE = st.lists(
    st.sampled_from(
        ["[1]", "[2]", "[3]", "[9]", " [1, 2]", "[", "]", "1", "12", " ", ",", "word", "é😀", "\n", "[0;3]"]
    ),
    max_size=30,
).map("".join)


def mapped(pieces: list[str]) -> tuple[str, list[Citation]]:
    mapper = CitationMapper(CITABLES)
    parts = [*(mapper.feed(piece) for piece in pieces), mapper.finish()]
    return "".join(part.text for part in parts), [citation for part in parts for citation in part.citations]


def test_documents_are_numbered_in_first_use_order() -> None:
    text, citations = mapped(["First [2], then [1], again [2]."])
    assert text == "First [1], then [2], again [1]."
    assert [(c.number, c.cited.document_id) for c in citations] == [(1, "b"), (2, "a"), (1, "b")]


def test_two_places_of_one_document_share_a_marker_and_keep_both_links() -> None:
    text, citations = mapped(["Both [1][3]."])
    assert text == "Both [1]."
    assert [(c.cited.chunk_id, c.start, c.end) for c in citations] == [("a1", 5, 8), ("a2", 5, 8)]


def test_a_list_in_one_bracket_becomes_single_markers() -> None:
    assert mapped(["Both [1, 2]."])[0] == "Both [1][2]."


def test_what_was_not_retrieved_is_dropped_with_its_blank() -> None:
    text, citations = mapped(["Wrong [9]. Half [1, 8]."])
    assert text == "Wrong. Half [1]."
    assert len(citations) == 1


def test_an_unfinished_bracket_is_plain_text_at_the_end() -> None:
    assert mapped(["cut off [1"]) == ("cut off [1", [])


def test_an_unfinished_bracket_is_held_back_while_text_arrives() -> None:
    mapper = CitationMapper(CITABLES)
    assert mapper.feed("see [2").text == "see"
    assert mapper.feed("] now").text == " [1] now"


def test_a_long_bracket_is_not_held_back_for_ever() -> None:
    mapper = CitationMapper(CITABLES)
    assert mapper.feed("[" + "1, " * 40).text.startswith("[1, 1")


def test_without_sources_nothing_is_touched() -> None:
    mapper = CitationMapper({})
    assert mapper.feed("array[1] [2]").text == "array[1] [2]"


@given(ANSWER_LIKE)
def test_any_cutting_gives_the_same_text_and_citations(text: str) -> None:
    cuts = [text[k : k + 1] for k in range(len(text))]
    assert mapped(cuts) == mapped([text])


@given(st.lists(ANSWER_LIKE, max_size=6))
def test_pieces_of_any_size_give_the_same(pieces: list[str]) -> None:
    assert mapped(pieces) == mapped(["".join(pieces)])


@given(ANSWER_LIKE)
def test_every_citation_points_at_its_own_marker(text: str) -> None:
    final, citations = mapped([text])
    for citation in citations:
        assert final[citation.start : citation.end] == f"[{citation.number}]"


@given(ANSWER_LIKE)
def test_numbers_start_at_one_without_gaps(text: str) -> None:
    seen: list[int] = []
    for citation in mapped([text])[1]:
        if citation.number not in seen:
            seen.append(citation.number)
    assert seen == list(range(1, len(seen) + 1))
