"""Bring one index generation to the facts of another: the same documents, made by its own chunker and embedder.

A rebuild follows the live generation from nothing, a rollback from where the older one stopped. Facts are not changed
on the way: a file whose content is what the live catalog says is parsed again, and everything else (gone, edited since,
refused by now) is carried over from the stored text, so that nothing is lost. The next ingest takes edits in.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ingest.catalog import Entry
from ingest.chunk import ChunkDraft, chunk_document
from ingest.documents import Block, Chunk, ParsedDocument, Progress
from ingest.labels import Label, labels_of
from ingest.parse.reasons import ParseError
from ingest.pipeline import GROUP_CHUNKS, Outcome, chunks_from
from ingest.scan import SourceFile
from ingest.store import FactStore
from ingest.writer import Prepared

INDEX_TABLES = ("documents", "chunks", "document_labels", "doubtful_vectors", "mislabelled_vectors", "schema_version")
ACCESS_TABLES = ("access_rules", "access_labels", "document_access", "stale_labels")
"""Adopted by `AccessKeeper`, as chunks and vectors carry them too."""

INDEX_PREFIXES = ("lexical_", "sqlite_")
"""Tables that each generation makes for itself. All others (failures, and whatever a part keeps beside the documents)
are copied as they are, so a new table needs no change here."""

OnProgress = Callable[[Progress], None]


@dataclass(slots=True)
class Followed:
    """num_parsed: documents read again from their files; num_carried: taken over from the stored text."""

    num_parsed: int = 0
    num_carried: int = 0
    num_removed: int = 0

    def add(self, more: "Followed") -> None:
        self.num_parsed += more.num_parsed
        self.num_carried += more.num_carried
        self.num_removed += more.num_removed


@dataclass(frozen=True, slots=True)
class Lag:
    """What the follower still lacks, what it has with another file time or root, and what it has too much."""

    missing: list[Entry] = field(default_factory=list)
    touched: list[Entry] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.missing) + len(self.touched) + len(self.surplus)


class Follower:
    """`built` follows `live`. The caller sees to it that nobody else writes to `built`.

    any_recipe: documents of `built` count as done whatever parser and chunker made them (going back), else only those
    of its present recipe (rebuilding).
    """

    def __init__(self, live: FactStore, built: FactStore, *, any_recipe: bool) -> None:
        self._live = live.parts
        self._built = built.parts
        self._any_recipe = any_recipe

    def lag(self) -> Lag:
        lag = Lag()
        done = {entry.document.document_id: entry for entry in self._built.catalog.entries()}
        for entry in self._live.catalog.entries():
            have = done.pop(entry.document.document_id, None)
            if have is None or not self._is_same(entry, have):
                lag.missing.append(entry)
            elif entry.state != have.state:
                lag.touched.append(entry)
        lag.surplus.extend(done)
        return lag

    def follow(self, on_progress: OnProgress, stage: str) -> Followed:
        """Once, for the present lag. Stopped at any point (by an exception of `on_progress`, or killed), the next call
        goes on where it was. Nothing is written to the live generation.
        """
        self._built.writer.heal()
        lag, followed = self.lag(), Followed()
        self._built.writer.remove(lag.surplus)
        followed.num_removed = len(lag.surplus)
        for entry in lag.touched:
            self._built.catalog.touch(entry)
        group: list[Prepared] = []
        for number, made in enumerate(self._documents(lag.missing)):
            on_progress(Progress(stage, number, len(lag.missing), made.prepared.entry.state.path))
            followed.num_carried += made.is_carried
            followed.num_parsed += not made.is_carried
            group.append(made.prepared)
            if sum(len(prepared.chunks) for prepared in group) >= GROUP_CHUNKS:
                self._built.writer.write(group, self._built.pipeline.sizes)
                group = []
        self._built.writer.write(group, self._built.pipeline.sizes)
        on_progress(Progress(stage, len(lag.missing), len(lag.missing), ""))
        return followed

    def copy_tables(self) -> None:
        """All that is kept beside the index (see `INDEX_TABLES`), and who may read what."""
        with self._built.tables.transaction() as connection, self._live.tables.reading() as source:
            connection.execute("PRAGMA defer_foreign_keys = ON")
            for table in _other_tables(source):
                _copy_table(source, connection, table)
        self._built.access.adopt(self._live.access)

    def _is_same(self, wanted: Entry, have: Entry) -> bool:
        """Title, type and number of chunks come from parser and chunker, the file's time is compared with its state;
        all else must be equal.
        """
        own = have.document
        expected = replace(
            wanted.document,
            title=own.title,
            media_type=own.media_type,
            num_chunks=own.num_chunks,
            modified_unix_seconds=own.modified_unix_seconds,
        )
        return expected == own and (self._any_recipe or have.recipe == self._built.pipeline.recipe)

    def _documents(self, entries: Sequence[Entry]) -> "Iterator[Made]":
        """The ones with files first, as their parsing runs ahead."""
        has_file = {entry.document.document_id: _has_file(entry) for entry in entries}
        with_file = [entry for entry in entries if has_file[entry.document.document_id]]
        files = [SourceFile(Path(entry.state.root, entry.state.path), entry.state) for entry in with_file]
        for entry, outcome in zip(with_file, self._built.pipeline.outcomes(files), strict=True):
            yield self._made(entry, outcome)
        for entry in entries:
            if not has_file[entry.document.document_id]:
                yield self._carried(entry)

    def _made(self, entry: Entry, outcome: Outcome) -> "Made":
        result = outcome.result
        if isinstance(result, ParseError) or result.content_hash != entry.document.content_hash:
            return self._carried(entry)
        labels = labels_of(entry.document, result.document)
        return Made(self._prepared(entry, result.document, outcome.drafts, labels), is_carried=False)

    def _carried(self, entry: Entry) -> "Made":
        chunks = self._live.catalog.chunks_of([entry.document.document_id])
        labels = self._live.labels.of_document(entry.document.document_id)
        document = document_from(entry, chunks)
        drafts = chunk_document(document, self._built.pipeline.sizes)
        return Made(self._prepared(entry, document, drafts, labels), is_carried=True)

    def _prepared(
        self, entry: Entry, parsed: ParsedDocument, drafts: Sequence[ChunkDraft], labels: frozenset[Label]
    ) -> Prepared:
        """With the access that the live generation gives it now; what the file says of it is the next ingest's."""
        pipeline, document = self._built.pipeline, entry.document
        chunks = chunks_from(
            drafts,
            pipeline.free_key(document.document_id, document.content_hash),
            document.document_id,
            document.content_hash,
            pipeline.recipe,
        )
        made = replace(document, title=parsed.title, media_type=parsed.media_type, num_chunks=len(chunks))
        access = self._live.access.kept(document.document_id, document.path, document.knowledge_base)
        return Prepared(replace(entry, document=made, recipe=pipeline.recipe), chunks, access, labels)


@dataclass(frozen=True, slots=True)
class Made:
    """A document ready for the follower, and where its text is from."""

    prepared: Prepared
    is_carried: bool


def document_from(entry: Entry, chunks: Sequence[Chunk]) -> ParsedDocument:
    """A parsed document again from its stored chunks: paragraphs, headings and locations are kept. A paragraph that the
    old chunker had to divide stays divided, and rows of a table become lines.
    """
    blocks = tuple(Block(chunk.text, chunk.heading_path, chunk.location) for chunk in chunks)
    return ParsedDocument(entry.document.title, blocks, entry.document.media_type)


def _has_file(entry: Entry) -> bool:
    try:
        return Path(entry.state.root, entry.state.path).is_file()
    except (OSError, ValueError):
        return False


def _other_tables(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    names = [str(row[0]) for row in rows]
    own = (*INDEX_TABLES, *ACCESS_TABLES)
    return [name for name in names if name not in own and not name.startswith(INDEX_PREFIXES)]


def _copy_table(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> None:
    target.execute(f'DELETE FROM "{table}"')
    rows = source.execute(f'SELECT * FROM "{table}"').fetchall()
    if rows:
        columns = ", ".join(f'"{name}"' for name in rows[0].keys())  # noqa: SIM118  a row, not a mapping
        marks = ", ".join("?" * len(rows[0]))
        target.executemany(f'INSERT INTO "{table}" ({columns}) VALUES ({marks})', [tuple(row) for row in rows])
