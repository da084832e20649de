"""What documents say about themselves beside their text: tags, what they supersede, and the stems of their names.

One row for each (document, kind, value). Rows go with their document.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from posixpath import dirname, join, normpath

from ingest.documents import Document, ParsedDocument
from ingest.tables import FactTables
from ingest.versions import names_of


class Kind(StrEnum):
    TAG = "tag"
    SUPERSEDES = "supersedes"
    STEM = "stem"


Label = tuple[Kind, str]


def labels_of(document: Document, parsed: ParsedDocument) -> frozenset[Label]:
    """Tags in lower case; superseded documents by their path in the knowledge base (front matter may name them
    relative to the document itself, both readings are kept); stems as `ingest.versions` finds them."""
    folder = dirname(document.path)
    paths = {normpath(path) for name in parsed.supersedes for path in (name, join(folder, name))}
    labels = {(Kind.TAG, tag.lower()) for tag in parsed.tags}
    labels |= {(Kind.SUPERSEDES, path) for path in paths if path != document.path}
    return frozenset(labels | {(Kind.STEM, name.stem) for name in names_of(document)})


def moved_labels(document: Document, old_path: str, old: frozenset[Label]) -> frozenset[Label]:
    """Of a document that was only renamed: its tags, the stems of its new name, and what it supersedes, also where that
    moved along with it.
    """
    kept = {(kind, value) for kind, value in old if kind is not Kind.STEM}
    above, folder = f"{dirname(old_path)}/".lstrip("/"), dirname(document.path)
    followed = {
        (kind, normpath(join(folder, value.removeprefix(above))))
        for kind, value in kept
        if kind is Kind.SUPERSEDES and value.startswith(above)
    }
    return frozenset(kept | followed | {(Kind.STEM, name.stem) for name in names_of(document)})


class Labels:
    """Writes join the transaction that the caller has opened on the tables."""

    def __init__(self, tables: FactTables) -> None:
        self._tables = tables

    def put(self, document_id: str, labels: Iterable[Label]) -> None:
        """Replace all of one document's. The document's own row must be there already."""
        with self._tables.transaction() as connection:
            connection.execute("DELETE FROM document_labels WHERE document_id = ?", (document_id,))
            connection.executemany(
                "INSERT INTO document_labels VALUES (?, ?, ?)",
                [(document_id, kind.value, value) for kind, value in sorted(labels)],
            )

    def of_document(self, document_id: str) -> frozenset[Label]:
        with self._tables.reading() as connection:
            rows = connection.execute(
                "SELECT kind, value FROM document_labels WHERE document_id = ?", (document_id,)
            ).fetchall()
        return frozenset((Kind(row["kind"]), str(row["value"])) for row in rows)

    def siblings(self, document_ids: Sequence[str]) -> list[str]:
        """Documents of the same knowledge base that share a stem with one of these, themselves included."""
        marks = ", ".join("?" * len(document_ids))
        with self._tables.reading() as connection:
            rows = connection.execute(
                "SELECT DISTINCT other.document_id FROM document_labels AS own"
                " JOIN document_labels AS other ON other.kind = own.kind AND other.value = own.value"
                " JOIN documents AS mine ON mine.document_id = own.document_id"
                " JOIN documents AS theirs ON theirs.document_id = other.document_id"
                " AND theirs.knowledge_base = mine.knowledge_base"
                f" WHERE own.kind = '{Kind.STEM}' AND own.document_id IN ({marks}) ORDER BY 1",
                list(document_ids),
            ).fetchall()
        return [row[0] for row in rows]

    def superseding(self, document_ids: Sequence[str]) -> list[tuple[str, str]]:
        """Each of these with each document that says it supersedes it, as ids (old, new), by the new one's path."""
        marks = ", ".join("?" * len(document_ids))
        with self._tables.reading() as connection:
            rows = connection.execute(
                "SELECT old.document_id, new.document_id FROM documents AS old"
                f" JOIN document_labels AS label ON label.kind = '{Kind.SUPERSEDES}' AND label.value = old.path"
                " JOIN documents AS new ON new.document_id = label.document_id"
                " AND new.knowledge_base = old.knowledge_base"
                f" WHERE old.document_id IN ({marks}) ORDER BY new.path",
                list(document_ids),
            ).fetchall()
        return [(row[0], row[1]) for row in rows if row[0] != row[1]]
