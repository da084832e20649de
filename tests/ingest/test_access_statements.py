"""What owners write about readers is understood, or is a problem that keeps the place closed; never silence."""

import pytest

from ingest.access.labels import OPEN, Label, Place
from ingest.access.reader import ADMIN, ANYONE, Reader
from ingest.access.rules import GONE, LINE_GONE, UNSAID, Rule, RuleKind, settle_document, settle_folder
from ingest.access.statements import FolderStatement, Statement, read_access, read_access_file
from ingest.parse.front_matter import split_head

HR = Rule("kb", RuleKind.FOLDER, "/d/hr", "", ("hr",))
PAY = Rule("kb", RuleKind.FOLDER, "/d/hr", "pay*", ("board",))
OWN = Rule("kb", RuleKind.DOCUMENT, "a.md", "", ("hr",))


def stated(text: str) -> Statement | None:
    head = split_head(text)
    return read_access(head) if head else None


@pytest.mark.parametrize(
    ("head", "groups"),
    [
        ("access: [hr, board]", ("board", "hr")),
        ("title: T\naccess: hr", ("hr",)),
        ("access: ['hr', \"board\"]  # both", ("board", "hr")),
        ("access:\n  - hr\n  # and\n- board\ntitle: T", ("board", "hr")),
        ('"access": hr', ("hr",)),
        ("  access: hr\n  title: T", ("hr",)),
        ("Access : [hr]\r", ("hr",)),
    ],
)
def test_front_matter_names_groups(head: str, groups: tuple[str, ...]) -> None:
    assert stated(f"---\n{head}\n---\n# T\n") == Statement(groups)
    assert stated(f"\ufeff---\n{head}\n...\n# T\n") == Statement(groups)


@pytest.mark.parametrize(
    "text", ["# T\naccess: [hr]\n", "---\ntitle: T\n---\naccess: hr\n", "---\nmeta:\n  access: x\n---\n", ""]
)
def test_what_is_no_access_line_says_nothing(text: str) -> None:
    assert stated(text) is None


@pytest.mark.parametrize(
    "head",
    [
        "access:",
        "access: []",
        "access: [hr",
        "access: {hr: 1}",
        "access: [HR]",
        "access: hr board",
        "access: hr\naccess: x",
    ],
)
def test_an_access_line_that_is_not_understood_is_a_problem(head: str) -> None:
    found = stated(f"---\n{head}\n---\ntext\n")
    assert found is not None
    assert found.groups == ()
    assert found.problem


def test_a_head_that_is_not_closed_is_a_problem_where_it_speaks_of_access() -> None:
    found = stated("---\naccess: [hr]\n\n# Salaries\n")
    assert found is not None
    assert "not closed" in found.problem
    assert stated("---\n# Salaries\n") is None


def test_an_access_file() -> None:
    text = 'groups = ["hr", "board", "hr"]\n[files]\n"pay-*.xlsx" = ["board"]\n'
    assert read_access_file(text) == FolderStatement({"": ("board", "hr"), "pay-*.xlsx": ("board",)})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "names no groups"),
        ('group = ["hr"]', "Did you mean groups"),
        ('groups = "hr"', "no list"),
        ("groups = []", "no list"),
        ('groups = ["Human Resources"]', "no group"),
        ('groups = ["hr"', "cannot be read"),
        ('files = ["x"]', "no table"),
        ('[files]\n"/etc/*" = ["hr"]', "no file name pattern"),
        ('[files]\n"" = ["hr"]', "no file name pattern"),
        ("groups = " + "[" * 5_000, "cannot be read"),
    ],
)
def test_an_access_file_that_is_not_understood_is_a_problem(text: str, problem: str) -> None:
    found = read_access_file(text)
    assert found.groups == {}
    assert problem in found.problem


def test_silence_never_lifts_a_rule() -> None:
    assert [rule.problem for rule in settle_folder("kb", "/d/hr", [HR, PAY], None)] == [GONE, GONE]
    broken = settle_folder("kb", "/d/hr", [HR], FolderStatement(problem="bad"))
    assert [(rule.groups, rule.problem) for rule in broken] == [(("hr",), "bad")]
    fewer = settle_folder("kb", "/d/hr", [HR, PAY], FolderStatement({"": ("hr", "it")}))
    assert [(rule.pattern, rule.groups, rule.problem) for rule in fewer] == [
        ("", ("hr", "it"), ""),
        ("pay*", ("board",), UNSAID),
    ]
    assert settle_document("kb", "a.md", OWN, None) == Rule("kb", RuleKind.DOCUMENT, "a.md", "", ("hr",), LINE_GONE)
    assert settle_document("kb", "a.md", None, None) is None


def test_what_was_never_readable_is_closed_until_it_is() -> None:
    closed = settle_folder("kb", "/d/hr", [], FolderStatement(problem="bad"))
    assert [(rule.groups, rule.is_stated) for rule in closed] == [((), False)]
    assert settle_folder("kb", "/d/hr", closed, FolderStatement({"pay*": ("board",)})) == [PAY]
    own = settle_document("kb", "a.md", None, Statement(problem="bad"))
    assert own is not None
    assert own.groups == ()
    assert settle_document("kb", "a.md", own, Statement(("hr",))) == OWN


@pytest.mark.parametrize(
    ("place", "path", "is_covered"),
    [
        (Place("/d/hr"), "/d/hr/x/a.md", True),
        (Place("/d/hr"), "/d/hr2/a.md", False),
        (Place("/"), "/d/a.md", True),
        (Place("/d", "pay-*"), "/d/x/Pay-2026.xlsx", True),
        (Place("/d", "x/*"), "/d/x/a.md", True),
        (Place("/d", "pay-*"), "/d/payroll.md", False),
    ],
)
def test_places_cover_what_lies_below(place: Place, path: str, is_covered: bool) -> None:
    assert place.covers(path) is is_covered


def test_labels_are_equal_for_equal_rules_only() -> None:
    assert Label("kb").name == Label("other").name == OPEN
    names = {
        Label("kb", (Place("/d"),)).name,
        Label("other", (Place("/d"),)).name,
        Label("kb", (Place("/d", "x"),)).name,
        Label("kb", (), ("hr",)).name,
        Label("kb", (), ()).name,
        OPEN,
    }
    assert len(names) == 6


def test_every_level_must_be_met() -> None:
    reader = Reader(frozenset({"hr"}))
    assert reader.meets((("hr", "board"), ("hr",)))
    assert not reader.meets((("hr",), ("board",)))
    assert not reader.meets(((),))
    assert reader.meets(())
    assert ADMIN.meets(((),))
    assert not ANYONE.meets((("hr",),))
