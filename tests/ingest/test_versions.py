"""Versions by name: what counts as a version of what, and which is the newest."""

import pytest

from ingest.documents import Document
from ingest.versions import VersionedName, names_version, newer_versions, versioned_name


def document(path: str, title: str = "", knowledge_base: str = "kb") -> Document:
    return Document(path, knowledge_base, path, title or path, "text/plain", "h", 1, 0, 0)


@pytest.mark.parametrize(
    ("name", "stem", "version"),
    [
        ("hr/travel-expenses-2024", "d:hr / travel expenses", (2024,)),
        ("hr/2024/travel", "d:hr / / travel", (2024,)),
        ("policy_2026-02-01", "d:policy", (2026, 2, 1)),
        ("policy 20260201", "d:policy", (2026, 2, 1)),
        ("Quality manual v1.12", "n:quality manual", (1, 12)),
        ("Quality manual, Version 2", "n:quality manual", (2,)),
        ("Quality manual (rev. 3)", "n:quality manual", (3,)),
    ],
)
def test_tokens(name: str, stem: str, version: tuple[int, ...]) -> None:
    found = versioned_name(name)
    assert found is not None
    assert (found.stem, found.version) == (stem, version)


@pytest.mark.parametrize("name", ["2024", "Warranty H5", "pod-12-manual", "Order 4711", "conv2", "20269", "phase 2"])
def test_no_token(name: str) -> None:
    assert versioned_name(name) is None


def test_what_is_written_is_kept() -> None:
    assert versioned_name("Rates V2 2026-01-14") == VersionedName("nd:rates", (2, 2026, 1, 14), ("v2", "2026-01-14"))


def test_the_newest_of_several_takes_the_place_of_all_older_ones() -> None:
    years = [document(f"rates-{year}.{suffix}") for year, suffix in ((2022, "pdf"), (2026, "md"), (2024, "md"))]
    found = newer_versions([*years, document("rates.md"), document("prices-2020.md")])
    assert {key: item.path for key, item in found.items()} == {
        "rates-2022.pdf": "rates-2026.md",
        "rates-2024.md": "rates-2026.md",
    }


def test_titles_count_where_paths_do_not_tell() -> None:
    old, new = document("a.md", "Leave policy 2019"), document("b/c.pdf", "Leave policy 2020")
    assert newer_versions([old, new]) == {"a.md": new}


def test_version_numbers_are_compared_as_numbers_and_not_with_years() -> None:
    nine, ten = document("manual-v1.9.md"), document("manual-v1.10.md")
    assert newer_versions([nine, ten, document("manual-2009.md")]) == {"manual-v1.9.md": ten}


def test_other_knowledge_bases_are_another_matter() -> None:
    assert newer_versions([document("rates-2024.md"), document("rates-2026.md", knowledge_base="other")]) == {}


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("What was the hotel limit in 2024?", True),
        ("hotel limit (2024 version)", True),
        ("What is the hotel limit?", False),
        ("What is the hotel limit in 2026?", False),
        ("order 20245", False),
    ],
)
def test_a_question_may_name_the_version(question: str, names: bool) -> None:
    assert names_version(question, document("hr/travel-2024.md")) is names


def test_a_question_that_names_the_year_of_a_date_names_the_version() -> None:
    assert names_version("what held in 2024?", document("travel-2024-03-01.md"))
