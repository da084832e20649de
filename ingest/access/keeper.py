"""What an ingest run does about readers: look at the access files, settle the rules, label the documents.

Labels are settled before anything is parsed, and each document is written with its label, so none is ever visible
without it. A document keeps the places of its old label as long as their rules exist: moving a folder, or losing an
access file, opens nothing.
"""

import posixpath
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ingest.access.files import folders_of, look_into, places_of
from ingest.access.labels import Label, LabelTable, Place
from ingest.access.rules import MOVED, AccessRules, Rule, RuleKind, settle_document, settle_folder
from ingest.access.statements import ACCESS_FILE, Statement
from ingest.catalog import Catalog
from ingest.documents import Failure, VectorIndex
from ingest.scan import SourceFile
from ingest.tables import FactTables

REASON = "access"


@dataclass(frozen=True, slots=True)
class DocumentAccess:
    """What is written with a document: its label, and its own rule where it has one."""

    label: Label
    rule: Rule | None = None


class AccessKeeper:
    """Rules and labels of one store. `begin` opens a run on a knowledge base; one run at a time."""

    def __init__(self, tables: FactTables, catalog: Catalog, vectors: VectorIndex) -> None:
        self._tables = tables
        self._catalog = catalog
        self._vectors = vectors
        self._rules = AccessRules(tables)
        self._labels = LabelTable(tables)
        self._labelling = threading.Lock()
        self._run = _Run("", (), {})

    def heal(self) -> None:
        """Tell the vectors the labels that a killed process did not."""
        with self._labelling:
            self._write_stale()

    def begin(self, knowledge_base: str, files: Sequence[SourceFile]) -> None:
        """Settle the rules by the access files above these files, and label all documents of the knowledge base."""
        paths = {file.state.path: places_of(file.absolute) for file in files}
        known = self._rules.rules(knowledge_base)
        by_folder: dict[str, list[Rule]] = defaultdict(list)
        for rule in known:
            if rule.kind is RuleKind.FOLDER:
                by_folder[rule.place].append(rule)
        settled: list[Rule] = []
        folders = folders_of(file.absolute for file in files)
        for name, folder in folders.items():
            settled += settle_folder(knowledge_base, name, by_folder[name], look_into(folder))
        kept = [rule for rule in known if rule.kind is not RuleKind.FOLDER or rule.place not in folders]
        self._run = _Run(knowledge_base, (*kept, *settled), paths)
        self._relabel(self._run, known)

    def access_of(self, document_id: str, path: str, found: Statement | None) -> DocumentAccess:
        """For a document of this run that was just parsed; `found` is what it says itself."""
        old = self._labels.of_documents([document_id]).get(document_id)
        rule = settle_document(self._run.knowledge_base, path, self._run.own_rule(path), found)
        return DocumentAccess(self._run.label(path, old, rule), rule)

    def kept(self, document_id: str, path: str, knowledge_base: str) -> DocumentAccess:
        """What a document has now, rule and all."""
        label = self._labels.of_documents([document_id]).get(document_id) or Label(knowledge_base)
        return DocumentAccess(label, self._rules.of_document(knowledge_base, path))

    def adopt(self, other: "AccessKeeper") -> None:
        """The rules and labels of another store over the same documents, as they are now, in one transaction."""
        with self._labelling:
            labels, own = other._labels.all(), self._labels.all()
            differing = {key: label for key, label in labels.items() if key not in own or own[key].name != label.name}
            with self._tables.transaction():
                self._rules.delete(self._rules.rules())
                self._rules.put(other._rules.rules())
                self._labels.change(differing)
            self._write_stale()

    def moved(self, old_id: str, old_path: str, new_id: str, path: str) -> DocumentAccess:
        """For a document that was found under another path, with the same content: it keeps its own rule, and what its
        old place asked. Only lifting a rule opens anything.
        """
        known = self._labels.of_documents([old_id, new_id])
        places = tuple(sorted({place for label in known.values() for place in label.places}))
        old_rule, new_rule = self._run.own_rule(old_path), self._run.own_rule(path)
        own = replace(old_rule, place=path) if old_rule else settle_document("", path, new_rule, None)
        return DocumentAccess(self._run.label(path, Label("", places), own), own)

    def carry(self, old_id: str, old_path: str, new_id: str, path: str) -> None:
        """Inside a transaction: a document that will be read anew under another path keeps the places of its label, and
        its own rule for as long as it states no other.
        """
        rule = self._run.own_rule(old_path)
        if rule is not None:
            self._run.own(replace(rule, place=path))
            self._rules.put([replace(rule, place=path)])
        known = self._labels.of_documents([old_id, new_id])
        if old_id in known:
            places = tuple(sorted({place for label in known.values() for place in label.places}))
            self._labels.put(new_id, replace(known[old_id], places=places))

    def move(self, document_id: str, access: DocumentAccess) -> None:
        """Inside the transaction that moves it, after its chunks."""
        self._labels.change({document_id: access.label})
        self._rules.put([access.rule] if access.rule else [])

    def labels_of(self, document_ids: Sequence[str]) -> dict[str, str]:
        """The names of their labels; documents that were never labelled are left out."""
        return {key: label.name for key, label in self._labels.of_documents(document_ids).items()}

    def put(self, document_id: str, access: DocumentAccess) -> None:
        """Inside the transaction that makes the document visible."""
        self._labels.put(document_id, access.label)
        self._rules.put([access.rule] if access.rule else [])

    def problems(self, knowledge_base: str | None = None) -> list[Failure]:
        """Rules that no file states any more as they are."""
        return [_failure(rule) for rule in self._rules.rules(knowledge_base) if rule.problem]

    def rules(self, knowledge_base: str | None = None) -> list[Rule]:
        return self._rules.rules(knowledge_base)

    def restrict(self, knowledge_base: str, groups: tuple[str, ...]) -> None:
        """Who may read a knowledge base, whether it exists yet or not."""
        self._rules.put([Rule(knowledge_base, RuleKind.KNOWLEDGE_BASE, groups=groups)])

    def clear(self, rules: Sequence[Rule]) -> None:
        """Lift these rules. What a file still says comes back with the next run."""
        self._rules.delete(rules)
        for name in sorted({rule.knowledge_base for rule in rules}):
            remaining = self._rules.rules(name)
            self._relabel(_Run(name, tuple(remaining), {}), remaining)

    def _relabel(self, run: "_Run", known: Sequence[Rule]) -> None:
        """Write the run's rules and the labels that they change. `known`: the rules in the table now."""
        with self._labelling:
            entries = self._catalog.entries(run.knowledge_base)
            old = self._labels.of_documents([entry.document.document_id for entry in entries])
            changed: dict[str, Label] = {}
            left: set[Place] = set()
            for entry in entries:
                document_id, path = entry.document.document_id, entry.state.path
                fallback = (posixpath.join(entry.state.root, path),)
                label = run.label(path, old.get(document_id), run.own_rule(path), fallback)
                left |= run.left_behind(path, label)
                if document_id not in old or old[document_id].name != label.name:
                    changed[document_id] = label
            rules = run.with_left(left)
            with self._tables.transaction():
                self._rules.delete(set(known) - set(rules))
                self._rules.put(set(rules) - set(known))
                self._labels.change(changed)
            self._write_stale()

    def _write_stale(self) -> None:
        stale = self._labels.stale()
        if stale:
            self._vectors.relabel({chunk: label for chunks in stale.values() for chunk, label in chunks.items()})
            self._labels.settle(list(stale))


class _Run:
    """The rules of one knowledge base during one run. `paths`: absolute paths by path, of the files looked at."""

    def __init__(self, knowledge_base: str, rules: tuple[Rule, ...], paths: dict[str, tuple[str, ...]]) -> None:
        self.knowledge_base = knowledge_base
        self._rules = rules
        self._paths = paths
        self._by_folder: dict[str, list[Place]] = defaultdict(list)
        self._own: dict[str, Rule] = {}
        for rule in rules:
            if rule.kind is RuleKind.FOLDER:
                self._by_folder[rule.place].append(Place(rule.place, rule.pattern))
            elif rule.kind is RuleKind.DOCUMENT:
                self._own[rule.place] = rule
        self._places = frozenset(place for places in self._by_folder.values() for place in places)

    def own_rule(self, path: str) -> Rule | None:
        return self._own.get(path)

    def own(self, rule: Rule) -> None:
        """Another rule of a document's own."""
        self._own[rule.place] = rule

    def places(self, path: str, fallback: tuple[str, ...] = ()) -> set[Place]:
        """The places above a document. `fallback` has its absolute paths where this run did not look at it."""
        if not self._places:
            return set()
        covering: set[Place] = set()
        for absolute in self._paths.get(path, fallback):
            for folder in _above(absolute):
                covering |= {place for place in self._by_folder.get(folder, ()) if place.covers(absolute)}
        return covering

    def label(self, path: str, old: Label | None, own: Rule | None, fallback: tuple[str, ...] = ()) -> Label:
        kept = self._places.intersection(old.places) if old else frozenset[Place]()
        places = tuple(sorted(self.places(path, fallback) | kept))
        return Label(self.knowledge_base, places, own.groups if own else None)

    def left_behind(self, path: str, label: Label) -> set[Place]:
        """Places that this run finds no longer above a document that it looked at."""
        return set(label.places) - self.places(path) if path in self._paths else set()

    def with_left(self, left: set[Place]) -> list[Rule]:
        """The rules; those that documents have only from an earlier run are noted as a problem."""
        return [
            replace(rule, problem=rule.problem or MOVED)
            if rule.kind is RuleKind.FOLDER and Place(rule.place, rule.pattern) in left
            else rule
            for rule in self._rules
        ]


def _above(path: str) -> Iterable[str]:
    while (folder := posixpath.dirname(path)) != path:
        yield folder
        path = folder


def _failure(rule: Rule) -> Failure:
    groups = ", ".join(rule.groups) or "nobody but admins"
    where = rule.place if rule.kind is RuleKind.DOCUMENT else posixpath.join(rule.place, ACCESS_FILE)
    option = "--document" if rule.kind is RuleKind.DOCUMENT else "--folder"
    state = f"{rule.problem.rstrip('.')}. The rule ({groups}) stays in force."
    action = f"Correct it, or lift it: housevoice access clear {rule.knowledge_base} {option} {rule.place}"
    return Failure(where, REASON, f"{state} {action}")
