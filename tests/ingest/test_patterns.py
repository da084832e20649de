"""Which files count, without any files."""

import pytest

from ingest.patterns import Selection

DEFAULT = (".*", "~$*", "*.tmp", "node_modules")


def has(selection: Selection, path: str) -> bool:
    """As a walk asks: every folder on the way, then the file."""
    parts = path.split("/")
    folders = ["/".join(parts[:end]) for end in range(1, len(parts))]
    return all(selection.has_folder(f, f.split("/")[-1]) for f in folders) and selection.has_file(path, parts[-1])


@pytest.mark.parametrize("extra", [(), ("unused/",)], ids=["by name", "by path"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.md", True),
        ("deep/er/a.md", True),
        (".hidden", False),
        ("a/.git/config", False),
        ("a/~$lock.docx", False),
        ("x.tmp", False),
        ("node_modules/a.md", False),
        ("my_node_modules/a.md", True),
    ],
)
def test_names_are_left_out_at_any_depth(extra: tuple[str, ...], path: str, expected: bool) -> None:
    """The two ways to match, one regular expression and pathspec, agree."""
    assert has(Selection((), (*DEFAULT, *extra)), path) is expected


@pytest.mark.parametrize(
    ("exclude", "path", "expected"),
    [
        (["drafts/"], "drafts/a.md", False),
        (["drafts/"], "hr/drafts/a.md", False),
        (["drafts/"], "drafts", True),
        (["/top.md"], "top.md", False),
        (["/top.md"], "hr/top.md", True),
        (["hr/*.csv"], "hr/a.csv", False),
        (["hr/*.csv"], "hr/deep/a.csv", True),
        (["hr/**/*.csv"], "hr/deep/a.csv", False),
        (["*.md", "!keep.md"], "keep.md", True),
        (["*.md", "!keep.md"], "other.md", False),
        (["# a comment/"], "# a comment/x", True),
    ],
)
def test_patterns_are_those_of_gitignore(exclude: list[str], path: str, expected: bool) -> None:
    assert has(Selection((), exclude), path) is expected


@pytest.mark.parametrize(
    ("include", "path", "expected"),
    [
        (["*.pdf"], "a/b.pdf", True),
        (["*.pdf"], "a/b.md", False),
        (["hr"], "hr/a.md", True),
        (["hr/"], "hr/deep/a.md", True),
        (["/hr/"], "x/hr/a.md", False),
        (["*.pdf", "hr/"], "hr/a.md", True),
        ([], "anything", True),
    ],
)
def test_include_names_what_counts(include: list[str], path: str, expected: bool) -> None:
    assert has(Selection(include, DEFAULT), path) is expected
    assert not has(Selection(include, ["*"]), path)


def test_what_is_left_out_is_known_without_the_file() -> None:
    selection = Selection(["*.md"], ["drafts/", ".*"])
    assert selection.excludes("hr/drafts/a.md")
    assert selection.excludes("drafts")
    assert selection.excludes(".git/index")
    assert not selection.excludes("hr/a.md")
