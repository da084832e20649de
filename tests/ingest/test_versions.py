"""Versions by name: what counts as a token, and when a question asks for one."""

import pytest

from ingest.documents import Document
from ingest.versions import VersionedName, names_of, names_version, rank_of, versioned_name


def document(path: str, title: str = "") -> Document:
    return Document(path, "kb", path, title or path, "text/plain", "h", 1, 0, 0)


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


def test_ranks_sort_as_versions_do() -> None:
    versions: list[tuple[int, ...]] = [(2024, 3, 1), (1, 10), (2026,), (1, 9), (2024,)]
    assert sorted(versions, key=rank_of) == sorted(versions)


def test_a_document_has_a_name_by_path_without_suffix_and_one_by_title() -> None:
    found = names_of(document("hr/travel-2024.pdf", "Travel policy v2"))
    assert [name.stem for name in found] == ["path:d:hr / travel", "title:n:travel policy"]
    assert names_of(document("hr/travel.pdf", "Travel")) == []


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
