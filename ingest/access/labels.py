"""Labels: documents under the same rules share one, and searches filter by it.

A label names the places of the rules, not their groups, so changed groups need no relabelling. Only the groups of a
document's own access line stand in it literally: they change with the document alone, and thousands of documents with
the same line share one label.
"""

import fnmatch
import hashlib
import json
import posixpath
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ingest.tables import FactTables

OPEN = "open"
"""The label of documents without any rule but, perhaps, their knowledge base's."""

IDS_AT_ONCE = 500


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A folder by its absolute path, with "" for all below it or a pattern of file names."""

    folder: str
    pattern: str = ""

    def covers(self, path: str) -> bool:
        """Whether an absolute path lies below it and fits the pattern, be it as a whole or by its last part."""
        start = self.folder.rstrip("/") + "/"
        if not path.startswith(start) or not self.pattern:
            return path.startswith(start)
        names = (path[len(start) :].casefold(), posixpath.basename(path).casefold())
        return any(fnmatch.fnmatchcase(name, self.pattern.casefold()) for name in names)


@dataclass(frozen=True, slots=True)
class Label:
    """places: sorted, each once. groups: of the document's own rule, None without one."""

    knowledge_base: str
    places: tuple[Place, ...] = ()
    groups: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        if not self.places and self.groups is None:
            return OPEN
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


class LabelTable:
    """The label of each document. Labels of removed documents stay, as a file may come back without its access file.
    Writes join the transaction that the caller has opened on the tables.
    """

    def __init__(self, tables: FactTables) -> None:
        self._tables = tables

    def of_documents(self, document_ids: Sequence[str]) -> dict[str, Label]:
        """Documents that were never labelled are left out."""
        rows: list[sqlite3.Row] = []
        with self._tables.reading() as connection:
            for start in range(0, len(document_ids), IDS_AT_ONCE):
                part = list(document_ids[start : start + IDS_AT_ONCE])
                marks = ", ".join("?" * len(part))
                rows += connection.execute(
                    "SELECT document_id, access_labels.* FROM document_access LEFT JOIN access_labels USING (label)"
                    f" WHERE document_id IN ({marks})",
                    part,
                ).fetchall()
        return {row["document_id"]: label_of(row) for row in rows}

    def all(self) -> dict[str, Label]:
        """Also those of documents that were removed."""
        with self._tables.reading() as connection:
            rows = connection.execute(
                "SELECT document_id, access_labels.* FROM document_access LEFT JOIN access_labels USING (label)"
            ).fetchall()
        return {row["document_id"]: label_of(row) for row in rows}

    def put(self, document_id: str, label: Label) -> None:
        """Label a document whose chunks are being written with that label."""
        with self._tables.transaction() as connection:
            if label.name != OPEN:
                places = json.dumps([(place.folder, place.pattern) for place in label.places])
                groups = None if label.groups is None else json.dumps(label.groups)
                connection.execute(
                    "INSERT OR IGNORE INTO access_labels VALUES (?, ?, ?, ?)",
                    (label.name, label.knowledge_base, places, groups),
                )
            connection.execute("INSERT OR REPLACE INTO document_access VALUES (?, ?)", (document_id, label.name))

    def change(self, labels: Mapping[str, Label]) -> None:
        """Label documents whose chunks are indexed: words at once, vectors when `stale` ones are written."""
        with self._tables.transaction() as connection:
            for document_id, label in labels.items():
                self.put(document_id, label)
                connection.execute(
                    "UPDATE lexical_rows SET access_label = ?"
                    " WHERE chunk_id IN (SELECT chunk_id FROM chunks WHERE document_id = ?)",
                    (label.name, document_id),
                )
                connection.execute("INSERT OR IGNORE INTO stale_labels VALUES (?)", (document_id,))

    def stale(self) -> dict[str, dict[str, str]]:
        """By document: the right label of each chunk, where that of its vector may be an older one."""
        stale: dict[str, dict[str, str]] = {}
        with self._tables.reading() as connection:
            rows = connection.execute(
                "SELECT document_id, chunk_id, label FROM stale_labels JOIN document_access USING (document_id)"
                " LEFT JOIN chunks USING (document_id)"
            ).fetchall()
        for row in rows:
            chunks = stale.setdefault(row["document_id"], {})
            if row["chunk_id"] is not None:
                chunks[row["chunk_id"]] = row["label"]
        return stale

    def settle(self, document_ids: Sequence[str]) -> None:
        """The vectors of these documents have the right labels."""
        with self._tables.transaction() as connection:
            connection.executemany("DELETE FROM stale_labels WHERE document_id = ?", [(key,) for key in document_ids])
            connection.execute("DELETE FROM access_labels WHERE label NOT IN (SELECT label FROM document_access)")


def label_of(row: sqlite3.Row) -> Label:
    """A row of access_labels; all NULL for the open label."""
    if row["places"] is None:
        return Label("")
    places = tuple(Place(folder, pattern) for folder, pattern in json.loads(row["places"]))
    groups = None if row["group_names"] is None else tuple(json.loads(row["group_names"]))
    return Label(row["knowledge_base"], places, groups)
