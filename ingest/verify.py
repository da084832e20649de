"""Is everything findable? Every chunk in the three places, by its own vector and by its words; and mending what is not.

`FactStore.check_parity` looks at a sample and runs by the hour; this looks at everything.
"""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from config.errors import HousevoiceError
from ingest.chunk import embedding_text
from ingest.documents import Chunk, IndexedChunk, Progress
from ingest.follow import OnProgress
from ingest.generations import IndexGenerations
from ingest.lexical import match_expression
from ingest.store import SELF_SEARCH, StoreParts, is_crowded

GROUP = 200
"""Chunks looked at, or mended, together."""

WORDS = "lexical_words"
"""The FTS5 table."""

NUM_WORDS = 6
"""The longest words of a chunk, by which it must be found."""


@dataclass(slots=True)
class Findings:
    """Chunk ids by what is wrong with them; document ids in `incomplete`. `damage`: what SQLite says of its file.

    no_vector, no_words: not in that index. unreachable: stored, but not found by their own vector. wrong_words: stored,
    but not found by their own words. stray_vectors, stray_words: of chunks that do not exist. incomplete: documents
    that lack chunks, which only their file can bring back.
    """

    num_chunks: int = 0
    no_vector: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)
    stray_vectors: list[str] = field(default_factory=list)
    no_words: list[str] = field(default_factory=list)
    wrong_words: list[str] = field(default_factory=list)
    stray_words: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not any((*self.mendable, self.incomplete, self.damage))

    @property
    def mendable(self) -> tuple[list[str], ...]:
        return (
            *(self.no_vector, self.unreachable, self.stray_vectors),
            *(self.no_words, self.wrong_words, self.stray_words),
        )


def verify(generations: IndexGenerations, *, repair: bool, on_progress: OnProgress) -> Findings:
    """What is wrong with the live generation; with `repair`, what is left wrong after mending. Writers wait.

    Raises HousevoiceError where the SQLite file is damaged beyond its word index.
    """
    with generations.writing() as live:
        findings = examine(live.store.parts, on_progress)
        if not repair or findings.is_good:
            return findings
        try:
            mend(live.store.parts, findings, on_progress)
            return examine(live.store.parts, on_progress)
        except sqlite3.DatabaseError as error:
            raise HousevoiceError(
                f"Index generation {live.number} is damaged ({error}).",
                "Go back to a backup: housevoice index restore FILE.",
            ) from error


def examine(parts: StoreParts, on_progress: OnProgress) -> Findings:
    """Reads only."""
    findings = Findings()
    wanted = _chunk_ids(parts)
    findings.num_chunks = len(wanted)
    findings.stray_vectors = sorted(set(parts.vectors.ids()) - wanted.keys())
    lexical = _column(parts, "SELECT chunk_id FROM lexical_rows")
    findings.stray_words = sorted(set(lexical) - wanted.keys())
    findings.no_words = sorted(wanted.keys() - set(lexical))
    findings.incomplete = _column(
        parts,
        "SELECT document_id FROM documents WHERE num_chunks !="
        " (SELECT count(*) FROM chunks WHERE chunks.document_id = documents.document_id)",
    )
    findings.damage = _damage(parts)
    ids = sorted(wanted)
    for start in range(0, len(ids), GROUP):
        on_progress(Progress("verify", start, len(ids), ""))
        _examine_some(parts, ids[start : start + GROUP], wanted, findings)
    on_progress(Progress("verify", len(ids), len(ids), ""))
    return findings


def mend(parts: StoreParts, findings: Findings, on_progress: OnProgress) -> None:
    """Embed and index again what is missing, remove what belongs to nothing. Documents that lack chunks are marked, so
    that the next ingest takes them up anew. The caller holds the write lock.
    """
    if findings.damage:
        with parts.tables.transaction() as connection:
            connection.execute(f"INSERT INTO {WORDS} ({WORDS}) VALUES ('rebuild')")
    parts.vectors.delete([*findings.stray_vectors, *findings.unreachable])
    parts.lexical.delete(findings.stray_words)
    to_embed = sorted({*findings.no_vector, *findings.unreachable})
    to_index = sorted({*findings.no_words, *findings.wrong_words})
    for number, group in enumerate(_groups(to_embed)):
        on_progress(Progress("mend", number * GROUP, len(to_embed), ""))
        chunks = _indexed(parts, group)
        sizes = parts.pipeline.sizes
        texts = [embedding_text(item.title, item.chunk.heading_path, item.chunk.text, sizes) for item in chunks]
        parts.vectors.upsert(chunks, parts.embedder.embed(texts))
    for group in _groups(to_index):
        parts.lexical.upsert(_indexed(parts, group))
    with parts.tables.transaction() as connection:
        connection.executemany(
            "UPDATE documents SET recipe = '' WHERE document_id = ?", [(key,) for key in findings.incomplete]
        )


def _examine_some(parts: StoreParts, ids: Sequence[str], bases: dict[str, str], findings: Findings) -> None:
    vectors = parts.vectors.fetch(list(ids))
    findings.no_vector += [chunk_id for chunk_id in ids if chunk_id not in vectors]
    for chunk_id, vector in vectors.items():
        hits = parts.vectors.search(vector, (bases[chunk_id],), SELF_SEARCH)
        if not any(hit.chunk_id == chunk_id for hit in hits) and not is_crowded(hits):
            findings.unreachable.append(chunk_id)
    if findings.damage:
        return  # the words cannot be asked for before their index is whole again
    unindexed = set(findings.no_words)
    chunks = parts.catalog.chunks([chunk_id for chunk_id in ids if chunk_id not in unindexed])
    findings.wrong_words += [chunk.chunk_id for chunk in chunks.values() if not _finds_words(parts, chunk)]


def _finds_words(parts: StoreParts, chunk: Chunk) -> bool:
    """All of the chunk's longest words in its own row. Ranks say nothing here: other chunks may hold them as well."""
    words = sorted(set(re.findall(r"\w+", chunk.text)), key=lambda word: (-len(word), word))[:NUM_WORDS]
    expression = match_expression(" ".join(words)).replace(" OR ", " AND ")
    if not expression:
        return True
    with parts.tables.reading() as connection:
        row = connection.execute(
            "SELECT 1 FROM lexical_words JOIN lexical_rows ON row_number = lexical_words.rowid"
            " WHERE lexical_words MATCH ? AND chunk_id = ?",
            (expression, chunk.chunk_id),
        ).fetchone()
    return row is not None


def _damage(parts: StoreParts) -> list[str]:
    """SQLite's own check of the file, and FTS5's of the word index against its text."""
    said = [text for text in _column(parts, "PRAGMA integrity_check(10)") if text != "ok"]
    try:
        with parts.tables.transaction() as connection:
            connection.execute(f"INSERT INTO {WORDS} ({WORDS}) VALUES ('integrity-check')")
    except sqlite3.DatabaseError as error:
        said.append(f"{WORDS}: {error}")
    return said


def _chunk_ids(parts: StoreParts) -> dict[str, str]:
    """With the knowledge base of each."""
    with parts.tables.reading() as connection:
        rows = connection.execute("SELECT chunk_id, knowledge_base FROM chunks JOIN documents USING (document_id)")
        return {row["chunk_id"]: row["knowledge_base"] for row in rows.fetchall()}


def _column(parts: StoreParts, query: str) -> list[str]:
    with parts.tables.reading() as connection:
        return [str(row[0]) for row in connection.execute(query).fetchall()]


def _groups(ids: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), GROUP):
        yield list(ids[start : start + GROUP])


def _indexed(parts: StoreParts, ids: Sequence[str]) -> list[IndexedChunk]:
    chunks = parts.catalog.chunks(ids)
    documents = parts.catalog.documents(sorted({chunk.document_id for chunk in chunks.values()}))
    labels = parts.access.labels_of(list(documents))
    owners = ((chunk, documents[chunk.document_id]) for chunk in chunks.values() if chunk.document_id in documents)
    return [
        IndexedChunk(chunk, owner.knowledge_base, owner.title, labels[owner.document_id]) for chunk, owner in owners
    ]
