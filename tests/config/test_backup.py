"""A backup is consistent and private; a restore takes nothing on trust and deletes nothing."""

import contextlib
import hashlib
import io
import json
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from config.backup import MANIFEST, Facts, write_backup
from config.datadir import DataDirectory
from config.errors import BadRequestError, DataDirectoryError
from config.restore import restore_backup


def no_step(stage: str, num_done: int, num_total: int) -> None:
    pass


def back_up(data: DataDirectory, target: Path | None = None) -> Path:
    return write_backup(
        data, target, contextlib.nullcontext, lambda: Facts(3, {"documents": 2}, lambda place: True), no_step
    )


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    data = DataDirectory(tmp_path / "data")
    data.create()
    with closing(sqlite3.connect(data.database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE facts (text TEXT)")
        connection.execute("INSERT INTO facts VALUES ('kept')")
        connection.commit()
    for place, text in {
        "adapters/halden/1/adapter.gguf": "weights", "local.key": "hv-secret", "index/3/chroma/x.bin": "vectors",
        "models/big.gguf": "not in it", "backups/old.tar.gz": "not in it", "owner.lock": "", ".hidden": "not in it",
    }.items():  # fmt: skip
        path = data.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (data.root / "adapters" / "link").symlink_to("/etc/passwd")
    return data


def facts_in(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [row[0] for row in connection.execute("SELECT text FROM facts").fetchall()]


def files_in(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_it_holds_what_counts_and_only_its_owner_reads_it(data: DataDirectory, tmp_path: Path) -> None:
    path = back_up(data, tmp_path / "b.tar.gz")
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        names = archive.getnames()
        manifest = json.load(archive.extractfile(MANIFEST) or io.BytesIO())
    assert names[0] == MANIFEST
    assert sorted(names[1:]) == [
        *("data/adapters/halden/1/adapter.gguf", "data/housevoice.db", "data/index/3/chroma/x.bin", "data/local.key"),
    ]
    assert (manifest["format"], manifest["generation"], manifest["counts"]) == (1, 3, {"documents": 2})
    assert list(data.backups.iterdir()) == [data.backups / "old.tar.gz"]


def test_a_database_that_is_being_written_is_copied_whole(data: DataDirectory) -> None:
    with closing(sqlite3.connect(data.database, isolation_level=None)) as writer:
        writer.execute("INSERT INTO facts VALUES ('in the log only')")
        writer.execute("BEGIN")
        writer.execute("INSERT INTO facts VALUES ('not committed')")
        path = back_up(data)
        writer.execute("COMMIT")
    restore_backup(data, path, no_step)
    assert facts_in(data.database) == ["kept", "in the log only"]


def test_restore_moves_aside_what_is_there(data: DataDirectory) -> None:
    path = back_up(data)
    (data.root / "local.key").write_text("changed")
    (data.root / "later.txt").write_text("made later")
    manifest, aside = restore_backup(data, path, no_step)
    assert (manifest.generation, (data.root / "local.key").read_text()) == (3, "hv-secret")
    assert ((aside / "local.key").read_text(), (aside / "later.txt").read_text()) == ("changed", "made later")
    assert not (data.root / "later.txt").exists()
    assert (data.root / "models" / "big.gguf").exists()
    assert (data.root / "local.key").stat().st_mode & 0o777 == 0o600
    assert path.exists()


def test_a_wiped_directory_comes_back(data: DataDirectory, tmp_path: Path) -> None:
    path = back_up(data, tmp_path / "b.tar.gz")
    empty = DataDirectory(tmp_path / "empty")
    empty.create()
    restore_backup(empty, path, no_step)
    assert files_in(empty.root) == {
        *("adapters/halden/1/adapter.gguf", "housevoice.db", "index/3/chroma/x.bin", "local.key"),
    }
    assert facts_in(empty.database) == ["kept"]


def test_an_existing_file_and_a_missing_folder_are_named(data: DataDirectory, tmp_path: Path) -> None:
    path = back_up(data, tmp_path / "b.tar.gz")
    with pytest.raises(BadRequestError, match=r"b\.tar\.gz exists already"):
        back_up(data, path)
    with pytest.raises(BadRequestError, match="cannot be written"):
        back_up(data, tmp_path / "nowhere" / "b.tar.gz")


Change = Callable[[list[tuple[tarfile.TarInfo, bytes]], dict[str, Any]], None]


def repacked(source: Path, target: Path, change: Change) -> Path:
    """The same archive after `change` of its members (without the manifest) and its manifest."""
    with tarfile.open(source) as archive:
        members = [(member, file.read()) for member in archive if (file := archive.extractfile(member)) is not None]
    manifest = json.loads(members.pop(0)[1])
    change(members, manifest)
    with tarfile.open(target, "w:gz") as archive:
        text = json.dumps(manifest).encode()
        head = tarfile.TarInfo(MANIFEST)
        head.size = len(text)
        archive.addfile(head, io.BytesIO(text))
        for member, content in members:
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content))
    return target


def named(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def entry(path: str, content: bytes = b"x") -> dict[str, Any]:
    return {"path": path, "num_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def flip(members: list[tuple[tarfile.TarInfo, bytes]], manifest: dict[str, Any]) -> None:
    members[0] = members[0][0], members[0][1][:-1] + b"?"


def add_stranger(members: list[tuple[tarfile.TarInfo, bytes]], manifest: dict[str, Any]) -> None:
    members.append((named("data/stranger"), b"x"))


def add_twice(members: list[tuple[tarfile.TarInfo, bytes]], manifest: dict[str, Any]) -> None:
    members.append(members[0])


def drop(members: list[tuple[tarfile.TarInfo, bytes]], manifest: dict[str, Any]) -> None:
    members.pop()


def newer(members: list[tuple[tarfile.TarInfo, bytes]], manifest: dict[str, Any]) -> None:
    manifest["format"] = 2


def no_manifest(members: list[tuple[tarfile.TarInfo, bytes]], manifest: dict[str, Any]) -> None:
    del manifest["files"]


def linked(members: list[tuple[tarfile.TarInfo, bytes]], manifest: dict[str, Any]) -> None:
    manifest["files"].append({**entry("link"), "num_bytes": 0})
    members.append((named("data/link", tarfile.SYMTYPE, "/etc/passwd"), b""))


def huge(members: list[tuple[tarfile.TarInfo, bytes]], manifest: dict[str, Any]) -> None:
    manifest["files"].append({**entry("huge"), "num_bytes": 10**18})


def placed(path: str) -> Change:
    def change(members: list[tuple[tarfile.TarInfo, bytes]], manifest: dict[str, Any]) -> None:
        manifest["files"].append(entry(path))
        members.append((named(f"data/{path}"), b"x"))

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (flip, "hash"), (add_stranger, "stranger"), (add_twice, "not what its manifest says"), (drop, "missing"),
        (newer, "format 2"), (no_manifest, "manifest cannot be read"), (linked, "not what its manifest says"),
        (huge, "MB free"), (placed("../outside"), "no place"), (placed("/tmp/outside"), "no place"),
        (placed("a/../../outside"), "no place"), (placed("owner.lock"), "no place"), (placed("models/x"), "no place"),
        (placed("a//b"), "no place"), (placed(".hidden"), "no place"), (placed("a\\b"), "no place"),
        (placed(""), "no place"),
    ],
)  # fmt: skip
def test_what_is_not_as_it_should_be_changes_nothing(
    data: DataDirectory, tmp_path: Path, change: Change, reason: str
) -> None:
    path = repacked(back_up(data, tmp_path / "b.tar.gz"), tmp_path / "changed.tar.gz", change)
    before = files_in(tmp_path)
    with pytest.raises(BadRequestError, match=f"(?s){reason}.*nothing was changed"):
        restore_backup(data, path, no_step)
    assert files_in(tmp_path) == before
    assert facts_in(data.database) == ["kept"]


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.8])
def test_a_cut_file_is_refused(data: DataDirectory, tmp_path: Path, share: float) -> None:
    whole = back_up(data, tmp_path / "b.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BadRequestError, match="nothing was changed"):
        restore_backup(data, tmp_path / "cut.tar.gz", no_step)
    assert facts_in(data.database) == ["kept"]


def test_an_interrupted_restore_is_not_opened_but_run_again(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = back_up(data)
    original, moves = Path.rename, []

    def dying(self: Path, target: Path) -> Path:
        moves.append(target)
        if len(moves) == 4:
            raise KeyboardInterrupt
        return original(self, target)

    monkeypatch.setattr(Path, "rename", dying)
    with pytest.raises(KeyboardInterrupt):
        restore_backup(data, path, no_step)
    monkeypatch.undo()
    with pytest.raises(DataDirectoryError, match=r"interrupted.*index restore"), data.own("server"):
        pass
    with data.own("index restore", is_restore=True):
        restore_backup(data, path, no_step)
    assert facts_in(data.database) == ["kept"]
    with data.own("server"):
        pass
