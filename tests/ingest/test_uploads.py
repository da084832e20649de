"""Names that clients give their files."""

import pytest

from ingest.uploads import MAX_NAME_BYTES, safe_name


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("leave.pdf", "leave.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ann\\leave.docx", "leave.docx"),
        (".bashrc", "bashrc"),
        ("~$lock.docx", "lock.docx"),
        ("..", "document"),
        ("", "document"),
        ("a\x00b\x1b[31m.txt", "ab[31m.txt"),
        ("pay\u202efdp.exe", "payfdp.exe"),
        ("U\u0308bersicht 2026.md", "\u00dcbersicht 2026.md"),
        ("  spaced   name .txt ", "spaced name .txt"),
        ("<script>.html", "script.html"),
    ],
)
def test_a_name_becomes_a_plain_file_name(given: str, expected: str) -> None:
    assert safe_name(given) == expected


def test_a_long_name_keeps_its_ending() -> None:
    name = safe_name("\u00e4" * 500 + ".docx")
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert name.endswith("\u00e4.docx")
    assert len(safe_name("x." + "y" * 500).encode()) <= MAX_NAME_BYTES
