"""The brands folder is read again when it changes; a broken edit keeps the last good set."""

from pathlib import Path

import pytest

from config.errors import ConfigError
from server import brandbook
from server.brandbook import BrandBook


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BrandBook:
    monkeypatch.setattr(brandbook, "LOOK_AGAIN_SECONDS", -1.0)
    (tmp_path / "halden.toml").write_text('title = "Halden"', encoding="utf-8")
    return BrandBook(tmp_path)


def test_an_edit_is_seen(book: BrandBook, tmp_path: Path) -> None:
    (tmp_path / "halden.toml").write_text('title = "Halden Two"', encoding="utf-8")
    (tmp_path / "pipkin.toml").write_text('title = "Pipkin"', encoding="utf-8")
    assert {name: brand.title for name, brand in book.brands().items()} == {"halden": "Halden Two", "pipkin": "Pipkin"}


def test_a_broken_edit_keeps_the_old_brands_and_says_why(book: BrandBook, tmp_path: Path) -> None:
    (tmp_path / "halden.toml").write_text('titel = "typo"', encoding="utf-8")
    assert book.brands()["halden"].title == "Halden"
    assert "titel" in book.error


def test_a_repaired_file_clears_the_error(book: BrandBook, tmp_path: Path) -> None:
    (tmp_path / "halden.toml").write_text('titel = "typo"', encoding="utf-8")
    book.brands()
    (tmp_path / "halden.toml").write_text('title = "Repaired"', encoding="utf-8")
    assert book.brands()["halden"].title == "Repaired"
    assert book.error == ""


def test_a_broken_folder_at_the_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "halden.toml").write_text("not toml", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"halden\.toml"):
        BrandBook(tmp_path)
