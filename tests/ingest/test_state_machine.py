"""Edits, deletions, renames, rules, runs, kills, restarts, rebuilds and rollbacks in any order: what each reader finds
is what a model of a few lines says.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from config.datadir import DataDirectory
from ingest import pipeline
from ingest.access.pick import Choice, pick_rules
from ingest.access.reader import ADMIN, ANYONE, Reader
from ingest.catalog import Catalog
from ingest.lexical import Fts5Index
from ingest.rebuild import rebuild
from ingest.rollback import roll_back
from ingest.store import FactStore
from ingest.vectors import ChromaIndex
from tests.ingest.generations_world import NO_QUESTIONS, Setup, ignore

PATHS = ("a.md", "b.md", "deep/c.md", "d.txt", "deep/e.txt")
EMBEDDERS = ("hash:64", "hash:96")
READERS = {"anyone": ANYONE, "g1": Reader(frozenset({"g1"})), "g2": Reader(frozenset({"g2"})), "admin": ADMIN}
KILLS: tuple[tuple[type, str], ...] = (
    (ChromaIndex, "upsert"),
    (ChromaIndex, "delete"),
    (ChromaIndex, "reassign"),
    (ChromaIndex, "relabel"),
    (Catalog, "put"),
    (Catalog, "move"),
    (Catalog, "settle"),
    (Catalog, "settle_labels"),
    (Fts5Index, "upsert"),
    (Fts5Index, "delete"),
)
paths = st.sampled_from(PATHS)
groups = st.sampled_from([None, None, "g1", "g2"])


class Killed(BaseException):
    """The process ends here; what SQLite has not committed is gone."""


@dataclass(frozen=True)
class Written:
    """A file's content: `number` is unique, `group` its access line."""

    number: int
    group: str | None
    is_titled: bool

    def text(self) -> str:
        head = f"---\naccess: {self.group}\n---\n" if self.group else ""
        title = f"# About matter {self.number}\n\n" if self.is_titled else ""
        return f"{head}{title}Shared words about matter{self.number}. " + f"detail{self.number} " * 60

    def stated(self, path: str) -> str | None:
        """Only Markdown has a head."""
        return self.group if path.endswith(".md") else None


class FactsMachine(RuleBasedStateMachine):
    """files: on the disk. indexed: as of the last run. in_force: groups in force by path; no run ever lifts one."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.source = self.folder / "source"
        self.source.mkdir()
        self.setup_ = Setup(DataDirectory(self.folder / "data"), EMBEDDERS[0])
        self.generations = self.setup_.open()
        self.files: dict[str, Written] = {}
        self.indexed: dict[str, Written] = {}
        self.in_force: dict[str, str] = {}
        self.held: dict[str, int] = {}
        self.base: str | None = None
        self.num_written = 0
        self.num_generations = 1
        self.can_go_back = False

    def teardown(self) -> None:
        self.generations.close()
        shutil.rmtree(self.folder)

    @rule(path=paths, group=groups, is_titled=st.booleans())
    def write(self, path: str, group: str | None, is_titled: bool) -> None:
        self.num_written += 1
        self.files[path] = Written(self.num_written, group, is_titled)
        file = self.source / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(self.files[path].text(), encoding="utf-8")

    @rule(path=paths)
    def delete(self, path: str) -> None:
        if self.files.pop(path, None):
            (self.source / path).unlink()

    @rule(old=paths, new=paths)
    def rename(self, old: str, new: str) -> None:
        if old in self.files and old != new:
            self.files[new] = self.files.pop(old)
            (self.source / new).parent.mkdir(exist_ok=True)
            (self.source / old).rename(self.source / new)

    @rule()
    def ingest(self) -> None:
        self._expect_run()
        reasons = {failure.reason for failure in self.generations.ingest(self.source, "kb").failures}
        assert reasons <= ({"access"} if self._has_stale_rules() else set()) | ({"quarantined"} if self.held else set())
        assert self.generations.ingest(self.source, "kb").summary == f"+0 ~0 -0, {len(self.indexed)} unchanged"

    @rule(kill=st.sampled_from(KILLS), when=st.integers(1, 4), is_after=st.booleans())
    def ingest_killed_and_resumed(self, kill: tuple[type, str], when: int, is_after: bool) -> None:
        owner, method = kill
        dying = _dying(getattr(owner, method), when, is_after)
        with patch.object(owner, method, dying), contextlib.suppress(Killed):
            self.generations.ingest(self.source, "kb")
        self.restart()
        before = dict(self.in_force)
        self._expect_run()
        self.generations.ingest(self.source, "kb")
        # A rename that was killed half-way may be finished as a removal and an addition: rules may stay on both places.
        self.in_force = before | self.in_force

    @rule(path=paths)
    def remove(self, path: str) -> None:
        assert self.generations.remove("kb", path) == (path in self.indexed)
        self.indexed.pop(path, None)

    @precondition(lambda self: self.indexed)
    @rule(data=st.data())
    def quarantine(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.indexed)))
        self.generations.quarantine("kb", path)
        self.held[path] = self.indexed[path].number
        self.indexed = {key: item for key, item in self.indexed.items() if not self._is_held(key, item)}

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def lift_quarantine(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.held)))
        self.generations.lift_quarantine("kb", path)
        del self.held[path]

    @rule(group=st.sampled_from(["g1", "g2"]))
    def restrict(self, group: str) -> None:
        self.generations.restrict("kb", (group,))
        self.base = group

    @precondition(lambda self: self.base is not None)
    @rule()
    def open_again(self) -> None:
        self.generations.clear_access(pick_rules(self.generations.access_rules("kb"), Choice("kb", "", "", False)))
        self.base = None

    @rule()
    def restart(self) -> None:
        self.generations.close()
        self.generations = self.setup_.open()
        self.generations.recover()

    @precondition(lambda self: self.num_generations < 4)
    @rule()
    def rebuild_with_another_embedder(self) -> None:
        self.num_generations += 1
        other = EMBEDDERS[self.num_generations % len(EMBEDDERS)]
        self.setup_ = replace(self.setup_, embedder=other)
        self.restart()
        assert rebuild(self.generations, NO_QUESTIONS, ignore).refusal == ""
        self.can_go_back = True

    @precondition(lambda self: self.can_go_back)
    @rule()
    def go_back(self) -> None:
        assert roll_back(self.generations, None, ignore).refusal == ""

    @invariant()
    def everybody_finds_what_the_model_says(self) -> None:
        store = self.generations.live
        for name, reader in READERS.items():
            assert _found(store, reader) == {path for path in self.indexed if self._may_read(path, name)}, name

    @invariant()
    def every_word_leads_to_its_own_document(self) -> None:
        store = self.generations.live
        for path, written in self.indexed.items():
            hits = store.search_lexical(f"matter{written.number}", ("kb",), 10)
            owners = {chunk.document_id for chunk in store.chunks([hit.chunk_id for hit in hits]).values()}
            assert [item.path for item in store.documents_by_id(sorted(owners)).values()] == [path]

    @invariant()
    def the_three_places_agree(self) -> None:
        assert self.generations.check_parity(1_000).is_good

    def _expect_run(self) -> None:
        gone = {item.number: path for path, item in self.indexed.items() if path not in self.files}
        for path, item in self.files.items():
            if self.indexed.get(path) == item or self._is_held(path, item):
                continue
            old = gone.get(item.number) if path not in self.indexed else None
            if old in self.in_force:
                self.in_force[path] = self.in_force[old]
            if stated := item.stated(path):
                self.in_force[path] = stated
        self.indexed = {path: item for path, item in self.files.items() if not self._is_held(path, item)}

    def _is_held(self, path: str, item: Written) -> bool:
        return path in self.held or item.number in self.held.values()

    def _may_read(self, path: str, name: str) -> bool:
        asked = {self.in_force.get(path), self.base} - {None}
        return name == "admin" or asked <= {name}

    def _has_stale_rules(self) -> bool:
        return any(self.in_force.get(path) != item.stated(path) for path, item in self.files.items()) or bool(
            set(self.in_force) - set(self.files)
        )


def _dying(original: Callable[..., Any], when: int, is_after: bool) -> Callable[..., Any]:
    calls = 0

    def dying(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == when and not is_after:
            raise Killed
        result = original(*given)
        if calls == when:
            raise Killed
        return result

    return dying


def _found(store: FactStore, reader: Reader) -> set[str]:
    """By both searches, which must agree."""
    readable = store.readable(("kb",), reader)
    arguments = ("shared words", readable.knowledge_bases, 1_000, readable.scope)
    dense = {chunk.document_id for chunk in store.chunks([h.chunk_id for h in store.search_dense(*arguments)]).values()}
    lexical = {
        chunk.document_id for chunk in store.chunks([h.chunk_id for h in store.search_lexical(*arguments)]).values()
    }
    assert lexical <= dense
    return {item.path for item in store.documents_by_id(sorted(dense)).values()}


@pytest.mark.parametrize(
    ("num_examples", "num_steps"),
    [
        pytest.param(6, 25, id="short"),
        pytest.param(60, 60, id="long", marks=[pytest.mark.slow, pytest.mark.timeout(3600)]),
    ],
)
def test_the_retrievable_set_is_the_models(num_examples: int, num_steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "GROUP_CHUNKS", 2)
    run_state_machine_as_test(
        FactsMachine,
        settings=hypothesis_settings(
            max_examples=num_examples,
            stateful_step_count=num_steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
