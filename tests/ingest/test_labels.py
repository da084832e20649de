"""Which document takes the place of which, over the real tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.catalog import Catalog, Entry, FileState
from ingest.documents import Document, ParsedDocument
from ingest.filters import SearchScope
from ingest.labels import NEWEST_VERSION, Kind, Label, Labels, labels_of, stems_of
from ingest.tables import FactTables


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[FactTables]:
    opened = FactTables(tmp_path / "facts.db")
    yield opened
    opened.close()


def add(tables: FactTables, path: str, title: str = "x", knowledge_base: str = "kb", *supersedes: str) -> str:
    """Its id is knowledge base and path."""
    document_id = f"{knowledge_base}/{path}"
    document = Document(document_id, knowledge_base, path, title, "text/plain", "h", 0, 0, 0)
    Catalog(tables).put(Entry(document, FileState("/root", path, 1, 1), "recipe"), [])
    Labels(tables).put(document_id, labels_of(document, ParsedDocument(title, (), "text/plain", supersedes=supersedes)))
    return document_id


def test_the_newest_of_several_takes_the_place_of_all_older_ones(tables: FactTables) -> None:
    paths = ("rates-2022.pdf", "rates-2026.md", "rates-2024.md", "rates.md", "prices-2020.md")
    ids = [add(tables, path) for path in paths]
    assert Labels(tables).newer(ids) == {
        "kb/rates-2022.pdf": "kb/rates-2026.md",
        "kb/rates-2024.md": "kb/rates-2026.md",
    }


def test_titles_count_where_paths_do_not_tell(tables: FactTables) -> None:
    ids = [add(tables, "a.md", "Leave policy 2019"), add(tables, "b/c.pdf", "Leave policy 2020")]
    assert Labels(tables).newer(ids) == {"kb/a.md": "kb/b/c.pdf"}


def test_version_numbers_are_compared_as_numbers_and_not_with_years(tables: FactTables) -> None:
    ids = [add(tables, path) for path in ("manual-v1.9.md", "manual-v1.10.md", "manual-2009.md")]
    assert Labels(tables).newer(ids) == {"kb/manual-v1.9.md": "kb/manual-v1.10.md"}


def test_other_knowledge_bases_are_another_matter(tables: FactTables) -> None:
    ids = [add(tables, "rates-2024.md"), add(tables, "rates-2026.md", "x", "other")]
    ids.append(add(tables, "all.md", "x", "other", "rates-2024.md"))
    assert Labels(tables).newer(ids) == {}


def test_a_document_may_say_what_it_supersedes(tables: FactTables) -> None:
    old, new = add(tables, "hr/old.md"), add(tables, "hr/new.md", "x", "kb", "old.md", "hr/new.md", "../gone.md")
    assert Labels(tables).newer([old, new]) == {old: new}
    add(tables, "hr/new.md")
    assert Labels(tables).newer([old, new]) == {}


def test_only_what_is_in_scope_is_named(tables: FactTables) -> None:
    ids = [add(tables, f"rates-{year}.md") for year in (2022, 2024, 2026)]
    ids.append(add(tables, "all.md", "x", "kb", "rates-2022.md"))
    assert Labels(tables).newer(ids[:1], SearchScope(frozenset(ids[:2]))) == {ids[0]: ids[1]}
    assert Labels(tables).newer(ids[:1], SearchScope(frozenset(ids[:1]))) == {}
    assert Labels(tables).newer(ids[:1], SearchScope(frozenset(ids))) == {ids[0]: ids[3]}


def test_what_may_not_be_read_is_passed_over_for_the_next_newest(tables: FactTables) -> None:
    ids = [add(tables, f"rates-{year}.md") for year in (2022, 2024, 2026)]
    ids.append(add(tables, "all.md", "x", "kb", "rates-2022.md"))
    with tables.transaction() as connection:
        connection.executemany(
            "INSERT INTO document_access VALUES (?, ?)", zip(ids, ("open", "open", "hr", "hr"), strict=True)
        )
    assert Labels(tables).newer(ids[:2], SearchScope(readable_labels=frozenset({"open"}))) == {ids[0]: ids[1]}
    both = Labels(tables).newer(ids[:2], SearchScope(readable_labels=frozenset({"open", "hr"})))
    assert both == {ids[0]: ids[3], ids[1]: ids[2]}


def test_the_name_of_the_file_tells_before_the_title(tables: FactTables) -> None:
    old = add(tables, "rates-2022.md", "Prices 2022")
    add(tables, "other.md", "Prices 2026")
    by_path = add(tables, "rates-2024.md", "Prices of the day")
    assert Labels(tables).newer([old]) == {old: by_path}


def test_stems_of_a_release_that_kept_no_rank_are_written_anew(tables: FactTables) -> None:
    ids = [add(tables, f"rates-{year}.md") for year in (2022, 2024)]
    Labels(tables).put(ids[0], [Label(Kind.TAG, "prices"), Label(Kind.STEM, "path:d:rates")])
    assert Labels(tables).unranked() == ids[:1]
    Labels(tables).rank(Catalog(tables).documents(ids[:1]).values())
    assert Labels(tables).unranked() == []
    stems = stems_of(Catalog(tables).documents(ids)[ids[0]])
    assert Labels(tables).of_document(ids[0]) == {Label(Kind.TAG, "prices"), *stems}
    assert Labels(tables).newer(ids) == {ids[0]: ids[1]}


def test_the_newest_is_found_by_index(tables: FactTables) -> None:
    """It was found by reading the whole series, for each question."""
    with tables.reading() as connection:
        values = {"asked": "[]", "chosen": None, "readable": None}
        steps = [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {NEWEST_VERSION}", values)]
    (step,) = [step for step in steps if " other " in f"{step} " and "labels" in step]
    assert "labels_by_value (kind=? AND value=? AND rank>?)" in step


def test_labels_go_with_their_document(tables: FactTables) -> None:
    ids = [add(tables, f"rates-{year}.md") for year in (2022, 2024)]
    Catalog(tables).remove(ids[1:])
    assert Labels(tables).newer(ids) == {}
