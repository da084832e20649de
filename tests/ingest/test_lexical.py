"""Search by words: any query is harmless, and names of abbreviations survive."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.documents import Chunk, IndexedChunk
from ingest.lexical import Fts5Index, match_expression
from ingest.tables import FactTables


def item(chunk_id: str, text: str, title: str = "T", heading: str = "H", knowledge_base: str = "kb") -> IndexedChunk:
    return IndexedChunk(Chunk(chunk_id, "d", 0, text, (heading,), "", 1), knowledge_base, title, "open")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Fts5Index:
    index = Fts5Index(FactTables(tmp_path_factory.mktemp("lexical") / Path("x.db")))
    index.upsert(
        [
            item("a", "The motors were running for nine weeks."),
            item("b", "Kühlgeräte prüfen wir jährlich.", title="Prüfung"),
            item("c", "motor", knowledge_base="other"),
        ]
    )
    return index


def ids(index: Fts5Index, query: str, *knowledge_bases: str) -> list[str]:
    return [hit.chunk_id for hit in index.search(query, knowledge_bases or ("kb",), 10)]


def test_stems_and_diacritics(index: Fts5Index) -> None:
    assert ids(index, "motor run") == ["a"]
    assert ids(index, "kuhlgerate prufung") == ["b"]


def test_knowledge_bases_filter_inside_the_query(index: Fts5Index) -> None:
    assert ids(index, "motor", "other") == ["c"]
    assert ids(index, "motor", "kb", "other") == ["c", "a"]


@given(st.text(max_size=80))
@settings(max_examples=300, deadline=None)
def test_any_query_is_harmless(index: Fts5Index, query: str) -> None:
    index.search(query, ("kb",), 3)


@pytest.mark.parametrize(
    "query", ['"', "a AND", "title:x", "NEAR(", "x*", "-x", "'; DROP TABLE lexical_rows; --", "\x00"]
)
def test_operators_are_words(index: Fts5Index, query: str) -> None:
    index.search(query, ("kb",), 3)
    assert index.count() == 3


def test_common_words_go_unless_there_are_no_others() -> None:
    assert match_expression("Who is the IT manager?") == '"IT" OR "manager"'
    assert match_expression("what is it") == '"what" OR "is" OR "it"'


def test_upsert_replaces(tmp_path: Path) -> None:
    index = Fts5Index(FactTables(tmp_path / "x.db"))
    index.upsert([item("a", "old words")])
    index.upsert([item("a", "new words")])
    assert index.count() == 1
    assert ids(index, "old") == []
    index.delete(["a", "unknown"])
    assert index.count() == 0


def test_in_a_large_index_the_commonest_words_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Fts5Index(FactTables(tmp_path / "x.db"))
    index.upsert([item(f"c{number}", "pump note") for number in range(40)])
    index.upsert([item("rare", "pump valve"), item("other", "valve")])

    def found(query: str) -> set[str]:
        return {hit.chunk_id for hit in index.search(query, ("kb",), 100)}

    assert len(found("pump valve")) == 42
    monkeypatch.setattr("ingest.lexical.MANY_MATCHES", 10)
    assert found("pump valve") == {"rare", "other"}
    assert len(found("pump")) == len(found("pump unheard")) == 41
    assert found("unheard") == set()
