"""Chunks by words: SQLite FTS5 with the Porter stemmer and BM25."""

import itertools
import json
import re
import sqlite3

from ingest.documents import Hit, IndexedChunk
from ingest.filters import UNRESTRICTED, SearchScope
from ingest.tables import FactTables

TITLE_WEIGHT, HEADING_WEIGHT, BODY_WEIGHT = 1.5, 1.5, 1.0
IS_AMONG = "chunk_id IN (SELECT chunk_id FROM chunks WHERE document_id IN (SELECT value FROM json_each(?)))"
IS_READABLE = "access_label IN (SELECT value FROM json_each(?))"

COMMON_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by can did do does for from had has have how i if in into is it its may me my of on or"
        " our shall she should so than that the their them then there they this to was we were what when where which"
        " who whom whose why will with would you your auf aus bei das dem den der des ein eine einem einen einer es für"
        " ich im ist mit nach oder sich sie sind und von vom wer wie wird wo zu zum zur",
    )
)
"""English and German words that stand in nearly every chunk: they rank nothing and make the query slow.
German ones that mean something else in English ("die", "war") are not among them."""


MANY_MATCHES = 8_000
"""Chunks that a query's words may find together before its commonest words are left out."""


class Fts5Index:
    """`LexicalIndex` in the catalog's own database, so that one transaction covers both."""

    def __init__(self, tables: FactTables) -> None:
        self._tables = tables

    def upsert(self, chunks: list[IndexedChunk]) -> None:
        self.delete([item.chunk.chunk_id for item in chunks])
        with self._tables.transaction() as connection:
            for item in chunks:
                cursor = connection.execute(
                    "INSERT INTO lexical_rows (chunk_id, knowledge_base, access_label) VALUES (?, ?, ?)",
                    (item.chunk.chunk_id, item.knowledge_base, item.access_label),
                )
                connection.execute(
                    "INSERT INTO lexical_words (rowid, title, heading, body) VALUES (?, ?, ?, ?)",
                    (cursor.lastrowid, item.title, item.chunk.heading, item.chunk.text),
                )

    def delete(self, chunk_ids: list[str]) -> None:
        with self._tables.transaction() as connection:
            for chunk_id in chunk_ids:
                row = connection.execute(
                    "DELETE FROM lexical_rows WHERE chunk_id = ? RETURNING row_number", (chunk_id,)
                ).fetchone()
                if row:
                    connection.execute("DELETE FROM lexical_words WHERE rowid = ?", (row["row_number"],))

    def search(
        self, query: str, knowledge_bases: tuple[str, ...], limit: int, scope: SearchScope = UNRESTRICTED
    ) -> list[Hit]:
        words = telling_words(query)
        if not words or not knowledge_bases:
            return []
        marks = ", ".join("?" * len(knowledge_bases))
        chosen = [(IS_AMONG, scope.document_ids), (IS_READABLE, scope.readable_labels)]
        restricting = [(condition, json.dumps(sorted(part))) for condition, part in chosen if part is not None]
        allowed = "".join(f" AND {condition}" for condition, _ in restricting)
        with self._tables.reading() as connection:
            expression = any_of(_rarest(connection, words))
            rows = connection.execute(
                f"SELECT chunk_id, bm25(lexical_words, {TITLE_WEIGHT}, {HEADING_WEIGHT}, {BODY_WEIGHT}) AS cost"
                " FROM lexical_words JOIN lexical_rows ON row_number = lexical_words.rowid"
                f" WHERE lexical_words MATCH ? AND knowledge_base IN ({marks}){allowed}"
                " ORDER BY cost, row_number LIMIT ?",
                (expression, *knowledge_bases, *(values for _, values in restricting), limit),
            ).fetchall()
        return [Hit(row["chunk_id"], -row["cost"]) for row in rows]

    def count(self) -> int:
        with self._tables.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM lexical_rows").fetchone()[0])


def match_expression(query: str) -> str:
    """An FTS5 expression that finds any of the query's telling words."""
    return any_of(telling_words(query))


def telling_words(query: str) -> list[str]:
    """Each once, in order; all words where none tells anything."""
    words = list(dict.fromkeys(re.findall(r"\w+", query)))
    return [word for word in words if word.lower() not in COMMON_WORDS or _is_abbreviation(word)] or words


def any_of(words: list[str]) -> str:
    """Every word is quoted, so nothing in it is an operator."""
    return " OR ".join(f'"{word}"' for word in words)


def _rarest(connection: sqlite3.Connection, words: list[str]) -> list[str]:
    """As many words, the rarest first, as have MANY_MATCHES together; all of them in all but large indexes.

    FTS5 scores each match, and finds only then which are best. Words that stand in thousands of chunks say little
    about any one of them, and cost most of the time.
    """
    (most_rows,) = connection.execute("SELECT coalesce(max(row_number), 0) FROM lexical_rows").fetchone()
    if most_rows <= MANY_MATCHES:  # a bound that costs nothing; counting them would read them all
        return words
    counting = "SELECT count(*) FROM lexical_words WHERE lexical_words MATCH ?"
    counts = {word: connection.execute(counting, (any_of([word]),)).fetchone()[0] for word in words}
    ordered = sorted((word for word in words if counts[word]), key=lambda word: counts[word])
    sums = itertools.accumulate(counts[word] for word in ordered)
    kept = [word for word, total in zip(ordered, sums, strict=True) if total <= MANY_MATCHES]
    return kept or ordered[:1] or words


def _is_abbreviation(word: str) -> bool:
    """IT is not it, and WHO is not who."""
    return len(word) > 1 and word.isupper()
