"""What documents say about themselves beside their text: tags, their date, what they supersede, and of what they are a
version.

Rows go with their document. A version's row holds the stem of its name and a rank that sorts as the versions do, so
that the newest of a long series is found by the index, without reading the series.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from posixpath import dirname, join, normpath

from ingest.documents import Document, ParsedDocument
from ingest.filters import UNRESTRICTED, SearchScope
from ingest.tables import FactTables
from ingest.versions import names_of, rank_of


class Kind(StrEnum):
    TAG = "tag"
    DATE = "date"
    SUPERSEDES = "supersedes"
    STEM = "stem"


@dataclass(frozen=True, slots=True)
class Label:
    """rank: of a stem only."""

    kind: Kind
    value: str
    rank: str = ""


def labels_of(document: Document, parsed: ParsedDocument) -> frozenset[Label]:
    """Tags in lower case; the date where it is one; superseded documents by their path in the knowledge base (front
    matter may name them relative to the document itself, both readings are kept); stems within the knowledge base.
    """
    folder = dirname(document.path)
    paths = {normpath(path) for name in parsed.supersedes for path in (name, join(folder, name))}
    labels = {Label(Kind.TAG, tag.lower()) for tag in parsed.tags}
    labels |= {Label(Kind.DATE, parsed.date)} if _is_date(parsed.date) else set()
    labels |= {Label(Kind.SUPERSEDES, path) for path in paths if path != document.path}
    return frozenset(labels | stems_of(document))


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def moved_labels(document: Document, old_path: str, old: frozenset[Label]) -> frozenset[Label]:
    """Of a document that was only renamed: its tags, the stems of its new name, and what it supersedes, also where that
    moved along with it.
    """
    kept = {label for label in old if label.kind is not Kind.STEM}
    above, folder = f"{dirname(old_path)}/".lstrip("/"), dirname(document.path)
    followed = {
        Label(label.kind, normpath(join(folder, label.value.removeprefix(above))))
        for label in kept
        if label.kind is Kind.SUPERSEDES and label.value.startswith(above)
    }
    return frozenset(kept | followed | stems_of(document))


def stems_of(document: Document) -> set[Label]:
    """The knowledge base stands in front: versions of another one are another matter."""
    ranks = {f"{document.knowledge_base} {name.stem}": rank_of(name.version) for name in names_of(document)}
    return {Label(Kind.STEM, stem, rank) for stem, rank in ranks.items()}


class Labels:
    """Writes join the transaction that the caller has opened on the tables."""

    def __init__(self, tables: FactTables) -> None:
        self._tables = tables

    def put(self, document_id: str, labels: Iterable[Label]) -> None:
        """Replace all of one document's. The document's own row must be there already."""
        rows = [(document_id, label.kind.value, label.value, label.rank) for label in labels]
        with self._tables.transaction() as connection:
            connection.execute("DELETE FROM document_labels WHERE document_id = ?", (document_id,))
            connection.executemany(
                "INSERT INTO document_labels (document_id, kind, value, rank) VALUES (?, ?, ?, ?)", sorted(rows)
            )

    def of_document(self, document_id: str) -> frozenset[Label]:
        with self._tables.reading() as connection:
            rows = connection.execute(
                "SELECT kind, value, rank FROM document_labels WHERE document_id = ?", (document_id,)
            ).fetchall()
        return frozenset(Label(Kind(row["kind"]), str(row["value"]), str(row["rank"])) for row in rows)

    def unranked(self) -> list[str]:
        """Documents whose stems are of a release that kept no rank."""
        with self._tables.reading() as connection:
            rows = connection.execute(
                f"SELECT DISTINCT document_id FROM document_labels WHERE kind = '{Kind.STEM}' AND rank = ''"
            ).fetchall()
        return [row[0] for row in rows]

    def rank(self, documents: Iterable[Document]) -> None:
        """Write their stems anew."""
        with self._tables.transaction():
            for document in documents:
                kept = {label for label in self.of_document(document.document_id) if label.kind is not Kind.STEM}
                self.put(document.document_id, kept | stems_of(document))

    def newer(self, document_ids: Sequence[str], scope: SearchScope = UNRESTRICTED) -> dict[str, str]:
        """By the id of a document that is superseded: the id of the one that says so, or else of its newest version.

        scope: what is outside of it counts as if it did not exist.
        """
        return self._select(NEWEST_VERSION, document_ids, scope) | self._select(SUPERSEDING, document_ids, scope)

    def _select(self, query: str, document_ids: Sequence[str], scope: SearchScope) -> dict[str, str]:
        values = {
            "asked": json.dumps(list(document_ids)),
            "chosen": _as_json(scope.document_ids),
            "readable": _as_json(scope.readable_labels),
        }
        with self._tables.reading() as connection:
            rows = connection.execute(query, values).fetchall()
        return {row[0]: row[1] for row in rows if row[1] and row[1] != row[0]}


def _as_json(part: frozenset[str] | None) -> str | None:
    return None if part is None else json.dumps(sorted(part))


IN_SCOPE = """
    (:chosen IS NULL OR other.document_id IN (SELECT value FROM json_each(:chosen)))
    AND (:readable IS NULL OR EXISTS (
        SELECT 1 FROM document_access AS access WHERE access.document_id = other.document_id
        AND access.label IN (SELECT value FROM json_each(:readable))
    ))
"""
NEWEST_VERSION = f"""
    SELECT own.document_id, (
        SELECT other.document_id FROM document_labels AS other
        WHERE other.kind = own.kind AND other.value = own.value AND other.rank > own.rank AND {IN_SCOPE}
        ORDER BY other.rank DESC, other.document_id LIMIT 1
    ) AS newest
    FROM document_labels AS own
    WHERE own.kind = '{Kind.STEM}' AND own.document_id IN (SELECT value FROM json_each(:asked))
    ORDER BY own.value DESC
"""
"""Of the names of one document the last counts: "path:..." comes behind "title:..."."""

SUPERSEDING = f"""
    SELECT old.document_id, other.document_id FROM documents AS old
    JOIN document_labels AS label ON label.kind = '{Kind.SUPERSEDES}' AND label.value = old.path
    JOIN documents AS other ON other.document_id = label.document_id AND other.knowledge_base = old.knowledge_base
    WHERE old.document_id IN (SELECT value FROM json_each(:asked)) AND {IN_SCOPE}
    ORDER BY other.path
"""
