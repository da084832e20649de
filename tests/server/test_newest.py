"""The newer version goes first where both speak about the same thing, and only there."""

from ingest.documents import Chunk, Document
from server.candidates import Candidate
from server.newest import prefer_newest


def document(name: str) -> Document:
    return Document(name, "kb", f"{name}.md", name, "text/plain", "h", 9, 0, 0)


OLD, NEW, OTHER = document("travel-2024"), document("travel-2026"), document("rooms")
NEWER = {OLD.document_id: NEW}


def candidate(of: Document, ordinal: int, heading: str, text: str = "", score: float | None = None) -> Candidate:
    chunk = Chunk(f"{of.title}/{ordinal}", of.document_id, ordinal, text, (heading,) if heading else (), "", 10)
    return Candidate(chunk, of, 1 if score else None, score, 1, 5.0, 1, 0.1)


def order(candidates: list[Candidate], query: str = "hotel limit") -> list[str]:
    return [item.chunk.chunk_id for item in prefer_newest(candidates, NEWER, query)]


def test_the_newer_chunk_on_the_topic_takes_the_older_ones_place() -> None:
    found = [
        candidate(OLD, 1, "Hotels"),
        candidate(OTHER, 1, ""),
        candidate(NEW, 5, "Meals"),
        candidate(NEW, 4, "Hotels"),
    ]
    assert order(found) == ["travel-2026/4", "travel-2024/1", "rooms/1", "travel-2026/5"]


def test_years_in_headings_are_not_another_topic() -> None:
    assert order([candidate(OLD, 1, "Limits 2024"), candidate(NEW, 1, "Limits 2026")])[0] == "travel-2026/1"


def test_the_old_version_stays_where_the_new_one_is_silent_or_ahead() -> None:
    silent = [candidate(OLD, 1, "Hotels", "a night"), candidate(NEW, 5, "Meals", "per full day")]
    assert order(silent) == ["travel-2024/1", "travel-2026/5"]
    ahead = [candidate(NEW, 4, "Hotels"), candidate(OLD, 1, "Hotels"), candidate(NEW, 6, "Hotels")]
    assert order(ahead) == ["travel-2026/4", "travel-2024/1", "travel-2026/6"]


def test_without_headings_the_words_decide() -> None:
    old = candidate(OLD, 1, "", "The hotel limit is 118 pounds a night.")
    new = candidate(NEW, 1, "", "The hotel limit is 134 pounds a night.")
    unlike = candidate(NEW, 2, "", "Receipts are kept for every item.")
    assert order([old, unlike, new]) == ["travel-2026/1", "travel-2024/1", "travel-2026/2"]


def test_a_chunk_as_near_to_the_question_is_on_its_topic() -> None:
    old, far = candidate(OLD, 1, "", "a", 0.6), candidate(NEW, 2, "Rail", "b", 0.5)
    near = candidate(NEW, 3, "Hotels and more", "c", 0.52)
    assert order([old, far, near]) == ["travel-2026/3", "travel-2024/1", "travel-2026/2"]
    assert order([old, far]) == ["travel-2024/1", "travel-2026/2"]


def test_a_question_that_names_the_old_version_gets_it_first() -> None:
    found = [candidate(OLD, 1, "Hotels"), candidate(NEW, 4, "Hotels")]
    assert order(found, "hotel limit in 2024") == ["travel-2024/1", "travel-2026/4"]


def test_superseded_ones_say_by_what() -> None:
    found = prefer_newest([candidate(OLD, 1, "Hotels"), candidate(NEW, 4, "Hotels")], NEWER, "limit of 2024")
    assert [item.superseded_by for item in found] == ["travel-2026.md", ""]


def test_two_that_supersede_each_other_do_no_harm() -> None:
    found = [candidate(OLD, 1, "Hotels"), candidate(NEW, 4, "Hotels")]
    both = {OLD.document_id: NEW, NEW.document_id: OLD}
    assert {item.chunk.chunk_id for item in prefer_newest(found, both, "limit")} == {"travel-2024/1", "travel-2026/4"}
