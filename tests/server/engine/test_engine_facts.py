"""What the fact cache keeps and lets go, in memory and on disk."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from config.errors import EngineError
from server.engine.factfiles import FactFolder, forget_files
from server.engine.facts import HALF_LIFE, BlockId, Ledger, block_id

A, B, C = (BlockId(name) for name in "abc")


def test_what_was_used_least_recently_goes_first() -> None:
    ledger = Ledger(2)
    ledger.keep(A, 1)
    ledger.keep(B, 1)
    ledger.use(A)
    assert ledger.keep(C, 1) == [B]


def test_a_block_in_steady_use_outlives_newer_ones_that_are_used_once() -> None:
    """A crawl through rare documents does not push out what everybody asks for."""
    ledger = Ledger(2)
    ledger.keep(A, 1)
    for _ in range(3):
        ledger.use(A)
    ledger.keep(B, 1)
    assert ledger.keep(C, 1) == [B]
    assert A in ledger


def test_old_fame_fades() -> None:
    ledger = Ledger(2)
    ledger.keep(A, 1)
    for _ in range(3):
        ledger.use(A)
    ledger.keep(B, 1)
    for _ in range(4 * HALF_LIFE):
        ledger.use(B)
    ledger.keep(C, 1)
    assert A not in ledger
    assert B in ledger


def test_a_block_larger_than_the_budget_is_not_kept() -> None:
    assert not Ledger(10).can_keep(11)
    with pytest.raises(EngineError, match="larger than the whole budget"):
        Ledger(10).keep(A, 11)


def test_ids_differ_by_everything_that_decides_the_cells_and_by_reader() -> None:
    ids = [
        block_id(b"base", "", (1, 2), (3, 4)),
        block_id(b"other", "", (1, 2), (3, 4)),
        block_id(b"base", "groups:hr", (1, 2), (3, 4)),
        block_id(b"base", "", (1,), (2, 3, 4)),
        block_id(b"base", "", (1, 2), (3, 5)),
    ]
    assert len({found.digest for found in ids}) == len(ids)
    assert ids[0] == block_id(b"base", "", [1, 2], [3, 4])


class LedgerMachine(RuleBasedStateMachine):
    """Never over budget, loses nothing that it did not name, forgets a document as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(20)
        self.truth: dict[BlockId, int] = {}

    @rule(name=st.sampled_from("abcdefgh"), document=st.sampled_from(["", "pay"]), size=st.integers(0, 25))
    def keep(self, name: str, document: str, size: int) -> None:
        block = BlockId(name, "", document)
        if not self.ledger.can_keep(size):
            return
        for gone in self.ledger.keep(block, size):
            del self.truth[gone]
        self.truth.pop(block, None)
        self.truth[block] = size

    @rule(number=st.integers(0, 20))
    def use(self, number: int) -> None:
        if self.truth:
            self.ledger.use(sorted(self.truth, key=str)[number % len(self.truth)])

    @rule(documents=st.sampled_from([None, frozenset({"pay"}), frozenset({"leave"})]))
    def forget(self, documents: frozenset[str] | None) -> None:
        gone = set(self.ledger.forget(documents))
        assert gone == {block for block in self.truth if documents is None or block.document in {"", *documents}}
        self.truth = {block: size for block, size in self.truth.items() if block not in gone}

    @invariant()
    def adds_up(self) -> None:
        self.ledger.check()
        assert self.ledger.num_bytes == sum(self.truth.values()) <= 20
        assert all(block in self.ledger for block in self.truth)
        assert len(self.ledger) == len(self.truth)


LedgerMachine.TestCase.settings = hypothesis_settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLedger = LedgerMachine.TestCase


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "facts"


def opened(folder: Path, origin: str = "base 1", max_bytes: int = 1_000) -> FactFolder:
    return FactFolder(folder, origin, max_bytes)


def test_a_block_comes_back_after_a_restart(folder: Path) -> None:
    opened(folder).keep(A, b"cells of a")
    again = opened(folder)
    assert again.load(A) == b"cells of a"
    assert again.load(B) is None
    assert (folder / "a.facts").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
        lambda data: b"",
        lambda data: b"{" * 5_000,
        lambda data: b"[1]\n" + data,
        lambda data: data.replace(b'"format": 2', b'"format": 1'),
        lambda data: data.replace(b'"num_bytes": 10', b'"num_bytes": -5'),
    ],
)
@pytest.mark.parametrize("is_open", [True, False])
def test_a_damaged_file_is_ignored_deleted_and_written_again(folder: Path, damage: object, is_open: bool) -> None:
    first = opened(folder)
    first.keep(A, b"cells of a")
    path = folder / "a.facts"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    found = first if is_open else opened(folder)
    assert found.load(A) is None
    assert found.num_damaged == 1
    assert not path.exists()
    found.keep(A, b"cells of a")
    assert opened(folder).load(A) == b"cells of a"


def test_files_of_another_base_or_library_are_deleted(folder: Path) -> None:
    opened(folder).keep(A, b"cells")
    assert opened(folder, "base 2").load(A) is None
    assert list(folder.iterdir()) == []


def test_a_file_under_another_blocks_name_is_not_believed(folder: Path) -> None:
    first = opened(folder)
    first.keep(A, b"cells of a")
    first.keep(B, b"cells of b")
    (folder / "a.facts").write_bytes((folder / "b.facts").read_bytes())
    assert first.load(A) is None
    assert first.load(B) == b"cells of b"


def test_the_folder_stays_within_its_budget_over_restarts(folder: Path) -> None:
    first = opened(folder, max_bytes=30)
    for number, block in enumerate((A, B, C)):
        first.keep(block, b"0123456789")
        os.utime(folder / f"{block.digest}.facts", (number, number))
    assert opened(folder, max_bytes=20).load(A) is None
    assert sorted(path.name for path in folder.iterdir()) == ["b.facts", "c.facts"]


def test_unfinished_files_are_cleared_away_and_others_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.new").write_bytes(b"half")
    (folder / "notes.txt").write_text("mine")
    opened(folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_document_is_forgotten_on_disk_after_a_restart_too(folder: Path) -> None:
    first = opened(folder)
    first.keep(BlockId("a", "", "leave"), b"open")
    first.keep(BlockId("s", "groups:hr", "pay"), b"secret")
    again = opened(folder)
    again.forget(frozenset({"pay"}))
    assert [path.name for path in folder.iterdir()] == ["a.facts"]
    again.forget(None)
    assert list(folder.iterdir()) == []


def test_files_are_forgotten_by_document_where_no_engine_runs(folder: Path) -> None:
    first = opened(folder)
    for name in ("leave", "pay", ""):
        first.keep(BlockId(f"of-{name}", "", name), b"cells")
    (folder / "odd.facts").write_bytes(b"no head")
    forget_files(folder, frozenset({"pay"}))
    assert [path.name for path in folder.iterdir()] == ["of-leave.facts"]


def test_a_disk_that_cannot_be_written_costs_the_level_only(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.write_text("a file where the folder should be")
    found = opened(folder)
    found.keep(A, b"cells")
    assert found.load(A) is None
    assert "could not be written" in caplog.text
    found.ledger.check()


def test_a_file_says_what_it_is(folder: Path) -> None:
    opened(folder).keep(BlockId("d", "groups:hr"), b"cells")
    head = json.loads((folder / "d.facts").read_bytes().split(b"\n")[0])
    assert {key: head[key] for key in ("format", "origin", "digest", "scope", "num_bytes")} == {
        "format": 2,
        "origin": "base 1",
        "digest": "d",
        "scope": "groups:hr",
        "num_bytes": 5,
    }
