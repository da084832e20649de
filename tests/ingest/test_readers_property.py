"""Random rules, folders, documents and groups against a model that is nothing but "every level above must agree"."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from config.datadir import DataDirectory
from config.settings import load_settings
from ingest.access.reader import Reader
from ingest.access.statements import ACCESS_FILE
from ingest.embed import HashEmbedder
from ingest.store import FactStore

GROUPS = ("g1", "g2", "g3")
FOLDERS = ("", "a", "a/b", "c")
DOCUMENTS = tuple(f"{folder}/{name}".strip("/") for folder in FOLDERS for name in ("x.md", "y.md"))
READERS = [Reader(frozenset(names)) for size in range(4) for names in combinations(GROUPS, size)]
NONE, BROKEN = "none", "broken"

Stated = tuple[str, ...] | str
"""Groups, or NONE, or BROKEN."""
groups = st.sets(st.sampled_from(GROUPS), min_size=1).map(lambda names: tuple(sorted(names)))
stated = st.one_of(st.just(NONE), st.just(NONE), st.just(BROKEN), groups)


@dataclass(frozen=True)
class World:
    """What stands on the disk: for the whole of each folder, for the y files in it, and in each document."""

    folders: Mapping[str, Stated]
    patterns: Mapping[str, Stated]
    documents: Mapping[str, Stated]

    def write(self, root: Path) -> None:
        shutil.rmtree(root, ignore_errors=True)
        for folder in FOLDERS:
            (root / folder).mkdir(parents=True, exist_ok=True)
            text = self._access_file(folder)
            if text:
                (root / folder / ACCESS_FILE).write_text(text)
        for path, what in self.documents.items():
            line = (
                ""
                if what == NONE
                else "---\naccess: {}\n---\n".format("[?" if what == BROKEN else f"[{', '.join(what)}]")
            )
            (root / path).write_text(f"{line}# T\n\nshared {path.replace('/', ' ')}\n")

    def is_broken(self, folder: str) -> bool:
        return BROKEN in (self.folders[folder], self.patterns[folder])

    def _access_file(self, folder: str) -> str:
        whole, pattern = self.folders[folder], self.patterns[folder]
        if self.is_broken(folder):
            return "groups = ["
        lines = [] if whole == NONE else [f"groups = {list(whole)}"]
        return "\n".join([*lines, *([] if pattern == NONE else ["[files]", f'"y*" = {list(pattern)}'])])


worlds = st.builds(
    World,
    st.fixed_dictionaries(dict.fromkeys(FOLDERS, stated)),
    st.fixed_dictionaries(dict.fromkeys(FOLDERS, stated)),
    st.fixed_dictionaries(dict.fromkeys(DOCUMENTS, stated)),
)


@dataclass
class Model:
    """Groups in force by place. What is missing or broken leaves them as they were; broken from the start is nobody."""

    base: tuple[str, ...] | None = None
    in_force: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    placeholders: set[tuple[str, str]] = field(default_factory=set)

    def ingest(self, world: World) -> None:
        for folder in FOLDERS:
            whole, pattern = (folder, ""), (folder, "y*")
            if world.is_broken(folder):
                if whole not in self.in_force and pattern not in self.in_force:
                    self._close(whole)
                continue
            self._take(whole, world.folders[folder])
            self._take(pattern, world.patterns[folder])
            says_something = (world.folders[folder], world.patterns[folder]) != (NONE, NONE)
            if says_something and whole in self.placeholders:
                self.placeholders.discard(whole)
                del self.in_force[whole]
        for path, what in world.documents.items():
            if what == BROKEN and ("document", path) not in self.in_force:
                self._close(("document", path))
            elif what != BROKEN:
                self._take(("document", path), what)

    def may_read(self, path: str, reader: Reader) -> bool:
        folder = path.rpartition("/")[0]
        above = [name for name in FOLDERS if name in ("", folder) or folder.startswith(name + "/")]
        keys = [(name, "") for name in above] + [("document", path)]
        keys += [(name, "y*") for name in above] if path.endswith("y.md") else []
        rules = [self.in_force[key] for key in keys if key in self.in_force]
        rules += [] if self.base is None else [self.base]
        return all(reader.groups & set(rule) for rule in rules)

    def readable(self, reader: Reader) -> set[str]:
        return {path for path in DOCUMENTS if self.may_read(path, reader)}

    def _take(self, key: tuple[str, str], what: Stated) -> None:
        if not isinstance(what, str):
            self.in_force[key] = what
            self.placeholders.discard(key)

    def _close(self, key: tuple[str, str]) -> None:
        self.in_force[key] = ()
        self.placeholders.add(key)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FactStore]:
    settings = load_settings(environment={}).ingest
    data = DataDirectory(tmp_path_factory.mktemp("property") / "data")
    store = FactStore.open(data, settings, HashEmbedder(), lambda text: len(text.split()))
    yield store
    store.close()


def retrievable(store: FactStore, base: str, reader: Reader) -> set[str]:
    readable = store.readable((base,), reader)
    arguments = ("shared", readable.knowledge_bases, 1_000, readable.scope)
    dense = {hit.chunk_id for hit in store.search_dense(*arguments)}
    lexical = {hit.chunk_id for hit in store.search_lexical(*arguments)}
    assert dense == lexical
    found = {chunk.document_id for chunk in store.chunks(list(dense)).values()}
    return {document.path for document in store.documents_by_id(list(found)).values()}


@given(first=worlds, second=worlds, base_rule=st.none() | groups)
@hypothesis_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_the_retrievable_set_is_the_models(
    store: FactStore,
    tmp_path_factory: pytest.TempPathFactory,
    first: World,
    second: World,
    base_rule: tuple[str, ...] | None,
) -> None:
    root = tmp_path_factory.mktemp("tree")
    base, model = root.name, Model()
    root = root / "documents"
    for world in (first, second):
        world.write(root)
        store.ingest(root, base)
        model.ingest(world)
        assert [retrievable(store, base, reader) for reader in READERS] == [
            model.readable(reader) for reader in READERS
        ]

    if base_rule:
        store.restrict(base, base_rule)
        model.base = base_rule
    before = [retrievable(store, base, reader) for reader in READERS]
    assert before == [model.readable(reader) for reader in READERS]

    for access_file in root.rglob(ACCESS_FILE):
        access_file.unlink()
    for path in DOCUMENTS:
        (root / path).write_text(f"# T\n\nshared {path.replace('/', ' ')} again\n")
    store.ingest(root, base)
    assert [retrievable(store, base, reader) for reader in READERS] == before
