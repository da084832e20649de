"""From candidates to ranked items, and expectations that the index cannot meet."""

from ingest.documents import Chunk
from server.evaluation.judging import find_absent, rank_items
from server.evaluation.questions import Expected
from tests.server.evaluation.found import candidate, judged, question, retrieval


def test_documents_rank_by_their_best_chunk() -> None:
    found = [candidate("x.md", 0), candidate("x.md", 1), candidate("y.md", 4), candidate("y.md", 5)]
    assert rank_items(question("q", Expected("y.md")), found) == ("other x.md", "expected 1")


def test_where_a_text_is_asked_for_other_chunks_of_its_document_take_ranks() -> None:
    found = [candidate("y.md", 0), candidate("y.md", 1), candidate("y.md", 2, "it is 26 days")]
    items = rank_items(question("q", Expected("y.md", ("26 days",))), found)
    assert items == ("other y.md#0", "other y.md#1", "expected 1")


def test_a_second_chunk_with_the_text_takes_no_rank_of_its_own() -> None:
    found = [candidate("y.md", 0, "26 days"), candidate("y.md", 1, "26 days"), candidate("z.md", 0, "nine")]
    items = rank_items(question("q", Expected("y.md", ("26 days",)), Expected("z.md", ("nine",))), found)
    assert items == ("expected 1", "expected 2")


def test_the_heading_belongs_to_the_text() -> None:
    assert rank_items(question("q", Expected("y.md", ("heading", "26"))), [candidate("y.md", 0, "26 days")]) == (
        "expected 1",
    )


def test_each_search_has_its_own_order_and_the_served_one_is_the_candidates() -> None:
    served = [
        candidate("a", dense=2, lexical=None),
        candidate("b", dense=1, lexical=2),
        candidate("c", lexical=1, dense=None),
    ]
    item = judged("q", (Expected("b"),), retrieval(*served))
    assert item.runs == {
        "fused": ("other a", "expected 1", "other c"),
        "dense": ("expected 1", "other a"),
        "lexical": ("other c", "expected 1"),
    }
    assert item.rank == 2
    assert judged("q", (Expected("z"),), retrieval(*served)).rank is None


def test_below_the_floor_is_refused() -> None:
    assert judged("q", (), retrieval(candidate("a"), relevance=0.2, floor=0.3)).is_refused
    assert not judged("q", (), retrieval(candidate("a"), relevance=0.4, floor=0.3)).is_refused


def test_expectations_that_no_chunk_meets_are_told() -> None:
    chunks = {"y.md": [Chunk("1", "y", 0, "26 days", (), "", 2)]}
    questions = [
        question("good", Expected("y.md", ("26 days",)), Expected("y.md")),
        question("old text", Expected("y.md", ("27 days",))),
        question("gone", Expected("z.md")),
    ]
    absent = find_absent(questions, chunks.get)
    assert [(item.question_id, item.reason) for item in absent] == [
        ("old text", "no chunk of the document contains the text"),
        ("gone", "the document is not indexed"),
    ]
