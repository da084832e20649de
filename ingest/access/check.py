"""May they read it? Asked anew at every query, from the tables: a changed rule or a revoked group acts at once."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from ingest.access.labels import IDS_AT_ONCE, OPEN, Label, Place, label_of
from ingest.access.reader import Reader, Requirement
from ingest.access.rules import RuleKind
from ingest.documents import Hit
from ingest.filters import UNRESTRICTED, SearchScope
from ingest.tables import FactTables

Groups = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Readable:
    """What of some knowledge bases somebody may read: the ones to search, and the scope inside them."""

    knowledge_bases: tuple[str, ...]
    scope: SearchScope


class AccessCheck:
    """Thread-safe; reads only."""

    def __init__(self, tables: FactTables) -> None:
        self._tables = tables

    def readable(self, knowledge_bases: tuple[str, ...], reader: Reader) -> Readable:
        if reader.reads_everything:
            return Readable(knowledge_bases, UNRESTRICTED)
        with self._tables.reading() as connection:
            rules = _Rules(connection)
            labels = connection.execute("SELECT * FROM access_labels").fetchall()
        bases = tuple(name for name in knowledge_bases if reader.meets(rules.of_knowledge_base(name)))
        readable = {row["label"] for row in labels if reader.meets(rules.of_label(label_of(row)))}
        if len(readable) == len(labels):
            return Readable(bases, UNRESTRICTED)
        return Readable(bases, SearchScope(readable_labels=frozenset({OPEN, *readable})))

    def may_read(self, document_id: str, knowledge_bases: tuple[str, ...], reader: Reader) -> bool:
        """False alike for a document that does not exist and one that is hidden, and after the same work."""
        readable = self.readable(knowledge_bases, reader)
        with self._tables.reading() as connection:
            row = connection.execute(
                "SELECT knowledge_base, label FROM documents JOIN document_access USING (document_id)"
                " WHERE document_id = ?",
                (document_id,),
            ).fetchone()
        if row is None or row["knowledge_base"] not in readable.knowledge_bases:
            return False
        labels = readable.scope.readable_labels
        return labels is None or row["label"] in labels

    def requirements(self, document_ids: Sequence[str]) -> dict[str, Requirement]:
        """What each document asks of its readers now, sorted and without repetition; unknown documents are left out."""
        found: dict[str, Requirement] = {}
        with self._tables.reading() as connection:
            rules = _Rules(connection)
            for start in range(0, len(document_ids), IDS_AT_ONCE):
                part = list(document_ids[start : start + IDS_AT_ONCE])
                marks = ", ".join("?" * len(part))
                rows = connection.execute(
                    "SELECT document_id, documents.knowledge_base AS base, access_labels.*"
                    " FROM documents JOIN document_access USING (document_id) LEFT JOIN access_labels USING (label)"
                    f" WHERE document_id IN ({marks})",
                    part,
                ).fetchall()
                for row in rows:
                    asked = {*rules.of_knowledge_base(row["base"]), *rules.of_label(label_of(row))}
                    found[row["document_id"]] = tuple(sorted(asked))
        return found

    def without_hidden(self, hits: list[Hit], scope: SearchScope) -> list[Hit]:
        """Vectors learn of a new label a moment after the catalog does; until then this keeps them from being shown."""
        labels = scope.readable_labels
        if labels is None or not hits:
            return hits
        marks, allowed = ", ".join("?" * len(hits)), ", ".join("?" * len(labels))
        with self._tables.reading() as connection:
            rows = connection.execute(
                f"SELECT chunk_id FROM lexical_rows WHERE chunk_id IN ({marks}) AND access_label IN ({allowed})",
                (*(hit.chunk_id for hit in hits), *labels),
            ).fetchall()
        shown = {row["chunk_id"] for row in rows}
        return [hit for hit in hits if hit.chunk_id in shown]


class _Rules:
    """Those of knowledge bases and folders, as groups by place. Those of documents stand in their labels."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute("SELECT * FROM access_rules WHERE kind != ?", (RuleKind.DOCUMENT,)).fetchall()
        self._bases: dict[str, Groups] = {}
        self._folders: dict[tuple[str, Place], Groups] = {}
        for row in rows:
            groups = tuple(json.loads(row["group_names"]))
            if row["kind"] == RuleKind.KNOWLEDGE_BASE:
                self._bases[row["knowledge_base"]] = groups
            else:
                self._folders[row["knowledge_base"], Place(row["place"], row["pattern"])] = groups

    def of_knowledge_base(self, name: str) -> Requirement:
        return (self._bases[name],) if name in self._bases else ()

    def of_label(self, label: Label) -> Requirement:
        """A place whose rule was cleared asks nothing any more."""
        keys = [(label.knowledge_base, place) for place in label.places]
        own = () if label.groups is None else (label.groups,)
        return (*(self._folders[key] for key in keys if key in self._folders), *own)
