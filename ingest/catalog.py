"""The catalog: which documents and chunks there are, which files failed, and which vectors are in doubt."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ingest.documents import Chunk, Document, Failure
from ingest.tables import FactTables

IDS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class FileState:
    """By which an unchanged file is recognised without reading it. `root` is the ingested folder."""

    root: str
    path: str
    size_bytes: int
    modified_nanoseconds: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A document with the state of its file and the recipe (parser, chunker, embedder) that made its chunks."""

    document: Document
    state: FileState
    recipe: str


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file that was refused, in which state and by which recipe; it is tried again when either changes."""

    failure: Failure
    state: FileState
    recipe: str


class Catalog:
    """Reads see whole documents only. Writes join the transaction that the caller has opened on the tables."""

    def __init__(self, tables: FactTables) -> None:
        self._tables = tables

    def entries(self, knowledge_base: str | None = None) -> list[Entry]:
        """By knowledge base and path."""
        with self._tables.reading() as connection:
            rows = connection.execute(
                "SELECT * FROM documents WHERE ?1 IS NULL OR knowledge_base = ?1 ORDER BY knowledge_base, path",
                (knowledge_base,),
            ).fetchall()
        return [_entry(row) for row in rows]

    def entries_by_id(self, document_ids: Sequence[str]) -> dict[str, Entry]:
        """Unknown ids are left out."""
        rows = self._select("SELECT * FROM documents WHERE document_id IN ({marks})", document_ids)
        return {row["document_id"]: _entry(row) for row in rows}

    def documents(self, document_ids: Sequence[str]) -> dict[str, Document]:
        """Unknown ids are left out."""
        return {key: entry.document for key, entry in self.entries_by_id(document_ids).items()}

    def chunks(self, chunk_ids: Sequence[str]) -> dict[str, Chunk]:
        """Unknown ids are left out."""
        rows = self._select("SELECT * FROM chunks WHERE chunk_id IN ({marks})", chunk_ids)
        return {row["chunk_id"]: _chunk(row) for row in rows}

    def chunks_of(self, document_ids: Sequence[str]) -> list[Chunk]:
        """In reading order, document by document."""
        rows = self._select(
            "SELECT * FROM chunks WHERE document_id IN ({marks}) ORDER BY document_id, ordinal", document_ids
        )
        return [_chunk(row) for row in rows]

    def chunks_at(self, places: Sequence[tuple[str, int]]) -> list[Chunk]:
        """By document id and ordinal, each once, in the order of `places`; what does not exist is left out."""
        query = "SELECT * FROM chunks WHERE document_id = ? AND ordinal = ?"
        with self._tables.reading() as connection:
            rows = [connection.execute(query, place).fetchone() for place in dict.fromkeys(places)]
        return [_chunk(row) for row in rows if row]

    def failures(self, knowledge_base: str | None = None) -> list[FailedFile]:
        with self._tables.reading() as connection:
            rows = connection.execute(
                "SELECT * FROM failures WHERE ?1 IS NULL OR knowledge_base = ?1 ORDER BY knowledge_base, path",
                (knowledge_base,),
            ).fetchall()
        return [
            FailedFile(Failure(row["path"], row["reason"], row["detail"]), _state(row), row["recipe"]) for row in rows
        ]

    def roots(self, knowledge_base: str) -> list[str]:
        """Folders that its documents and failures were found in."""
        with self._tables.reading() as connection:
            rows = connection.execute(
                "SELECT root FROM documents WHERE knowledge_base = ?1"
                " UNION SELECT root FROM failures WHERE knowledge_base = ?1 ORDER BY 1",
                (knowledge_base,),
            ).fetchall()
        return [row[0] for row in rows]

    def root_of(self, document_id: str) -> str:
        """The folder that a document was found in; "" for an unknown one."""
        with self._tables.reading() as connection:
            row = connection.execute("SELECT root FROM documents WHERE document_id = ?", (document_id,)).fetchone()
        return str(row[0]) if row else ""

    def knowledge_bases(self) -> list[str]:
        with self._tables.reading() as connection:
            rows = connection.execute("SELECT DISTINCT knowledge_base FROM documents ORDER BY 1").fetchall()
        return [row[0] for row in rows]

    def count_chunks(self) -> int:
        with self._tables.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM chunks").fetchone()[0])

    def sample_chunk_ids(self, size: int) -> list[str]:
        with self._tables.reading() as connection:
            rows = connection.execute("SELECT chunk_id FROM chunks ORDER BY random() LIMIT ?", (size,)).fetchall()
        return [row[0] for row in rows]

    def put(self, entry: Entry, chunks: Sequence[Chunk]) -> None:
        """Add or replace a document with all its chunks; its failure, if any, is over."""
        document = entry.document
        with self._tables.transaction() as connection:
            connection.execute("DELETE FROM documents WHERE document_id = ?", (document.document_id,))
            connection.execute(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(document.document_id, document.knowledge_base, document.path, entry.state.root, document.title),
                    *(document.media_type, document.content_hash, document.num_chunks, entry.state.size_bytes),
                    *(entry.state.modified_nanoseconds, document.indexed_unix_seconds, entry.recipe),
                ),
            )
            connection.executemany("INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?)", map(_chunk_row, chunks))
            connection.execute("DELETE FROM document_aliases WHERE document_id = ?", (document.document_id,))
            self.forget_failure(document.knowledge_base, document.path)

    def touch(self, entry: Entry) -> None:
        """The file has another time or root, its content is the same."""
        with self._tables.transaction() as connection:
            connection.execute(
                "UPDATE documents SET root = ?, size_bytes = ?, modified_nanoseconds = ? WHERE document_id = ?",
                (
                    *(entry.state.root, entry.state.size_bytes, entry.state.modified_nanoseconds),
                    entry.document.document_id,
                ),
            )

    def remove(self, document_ids: Sequence[str]) -> None:
        with self._tables.transaction() as connection:
            keys = [(key,) for key in document_ids]
            connection.executemany("DELETE FROM documents WHERE document_id = ?", keys)
            connection.executemany("DELETE FROM document_aliases WHERE current_id = ?", keys)

    def move(self, old_id: str, entry: Entry) -> None:
        """Under a new id and path, with the chunks that it has. Its vectors are noted as mislabelled."""
        new_id = entry.document.document_id
        chunks = [replace(chunk, document_id=new_id) for chunk in self.chunks_of([old_id])]
        with self._tables.transaction() as connection:
            self.redirect(old_id, new_id)
            self.remove([old_id])
            self.put(entry, chunks)
            connection.executemany(
                "INSERT OR IGNORE INTO mislabelled_vectors VALUES (?)", [(chunk.chunk_id,) for chunk in chunks]
            )

    def mislabelled(self) -> list[str]:
        with self._tables.reading() as connection:
            return [row[0] for row in connection.execute("SELECT chunk_id FROM mislabelled_vectors").fetchall()]

    def settle_labels(self, chunk_ids: Sequence[str]) -> None:
        with self._tables.transaction() as connection:
            connection.executemany("DELETE FROM mislabelled_vectors WHERE chunk_id = ?", [(key,) for key in chunk_ids])

    def redirect(self, old_id: str, new_id: str) -> None:
        """Links to a document that was renamed lead on, over any number of renames, until something else takes its
        place.
        """
        with self._tables.transaction() as connection:
            connection.execute("UPDATE document_aliases SET current_id = ? WHERE current_id = ?", (new_id, old_id))
            connection.execute("INSERT OR REPLACE INTO document_aliases VALUES (?, ?)", (old_id, new_id))

    def current_id(self, document_id: str) -> str:
        """Where a renamed document is now; the id itself where it was not renamed."""
        with self._tables.reading() as connection:
            row = connection.execute(
                "SELECT current_id FROM document_aliases WHERE document_id = ?", (document_id,)
            ).fetchone()
        return str(row[0]) if row else document_id

    def put_failure(self, knowledge_base: str, failed: FailedFile) -> None:
        failure, state = failed.failure, failed.state
        with self._tables.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(knowledge_base, failure.path, state.root, failure.reason, failure.detail),
                    *(state.size_bytes, state.modified_nanoseconds, failed.recipe),
                ),
            )

    def forget_failure(self, knowledge_base: str, path: str) -> None:
        with self._tables.transaction() as connection:
            connection.execute("DELETE FROM failures WHERE knowledge_base = ? AND path = ?", (knowledge_base, path))

    def doubt(self, chunk_ids: Sequence[str]) -> None:
        """These vectors may exist without a chunk, should the process end now."""
        with self._tables.transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO doubtful_vectors VALUES (?)", [(key,) for key in chunk_ids])

    def settle(self, chunk_ids: Sequence[str]) -> None:
        with self._tables.transaction() as connection:
            connection.executemany("DELETE FROM doubtful_vectors WHERE chunk_id = ?", [(key,) for key in chunk_ids])

    def doubtful(self) -> list[str]:
        with self._tables.reading() as connection:
            return [row[0] for row in connection.execute("SELECT chunk_id FROM doubtful_vectors").fetchall()]

    def _select(self, query: str, keys: Sequence[str]) -> list[sqlite3.Row]:
        rows: list[sqlite3.Row] = []
        with self._tables.reading() as connection:
            for start in range(0, len(keys), IDS_AT_ONCE):
                part = list(keys[start : start + IDS_AT_ONCE])
                rows += connection.execute(query.format(marks=", ".join("?" * len(part))), part).fetchall()
        return rows


def _entry(row: sqlite3.Row) -> Entry:
    document = Document(
        document_id=row["document_id"],
        knowledge_base=row["knowledge_base"],
        path=row["path"],
        title=row["title"],
        media_type=row["media_type"],
        content_hash=row["content_hash"],
        num_chunks=row["num_chunks"],
        modified_unix_seconds=row["modified_nanoseconds"] // 1_000_000_000,
        indexed_unix_seconds=row["indexed_unix_seconds"],
    )
    return Entry(document, _state(row), row["recipe"])


def _state(row: sqlite3.Row) -> FileState:
    return FileState(row["root"], row["path"], row["size_bytes"], row["modified_nanoseconds"])


def _chunk(row: sqlite3.Row) -> Chunk:
    return Chunk(
        chunk_id=row["chunk_id"],
        document_id=row["document_id"],
        ordinal=row["ordinal"],
        text=row["text"],
        heading_path=tuple(json.loads(row["heading_path"])),
        location=row["location"],
        num_tokens=row["num_tokens"],
    )


def _chunk_row(chunk: Chunk) -> tuple[str, str, int, str, str, str, int]:
    path = json.dumps(chunk.heading_path, ensure_ascii=False)
    return chunk.chunk_id, chunk.document_id, chunk.ordinal, chunk.text, path, chunk.location, chunk.num_tokens
