"""Which documents pass a client's filter: asked of the catalog once a question, for both searches."""

import json
from dataclasses import dataclass
from typing import Any

from ingest.filters import SearchFilter
from ingest.labels import Kind
from ingest.tables import FactTables

NANOSECONDS = 1_000_000_000
OWN_DATE = (
    "SELECT CAST(strftime('%s', value) AS INTEGER) FROM document_labels"
    f" WHERE document_labels.document_id = documents.document_id AND kind = '{Kind.DATE}'"
)
MOMENT = f"coalesce(({OWN_DATE}) * {NANOSECONDS}, modified_nanoseconds)"
"""Of a document: the date that it says of itself, from midnight UTC on; without one its file's time."""

IS_READABLE = "document_id IN (SELECT document_id FROM document_access WHERE label IN (SELECT value FROM json_each(?)))"


@dataclass(frozen=True, slots=True)
class Condition:
    """An SQL expression over a row of `documents`, with its values."""

    text: str
    values: tuple[str | int, ...]


class DocumentSelector:
    """Asks the catalog. Thread-safe."""

    def __init__(self, tables: FactTables) -> None:
        self._tables = tables

    def select(
        self, chosen: SearchFilter, knowledge_bases: tuple[str, ...], readable_labels: frozenset[str] | None
    ) -> frozenset[str] | None:
        """The ids of the readable documents that pass; None where the filter is empty, and so restricts nothing.

        readable_labels: as in `SearchScope`.
        """
        if chosen.is_empty:
            return None
        conditions = [_any_of("knowledge_base = ?", knowledge_bases), *conditions_of(chosen)]
        if readable_labels is not None:
            conditions.append(Condition(IS_READABLE, (json.dumps(sorted(readable_labels)),)))
        values = [value for condition in conditions for value in condition.values]
        query = "SELECT document_id FROM documents WHERE " + " AND ".join(item.text for item in conditions)
        with self._tables.reading() as connection:
            return frozenset(row[0] for row in connection.execute(query, values).fetchall())


def conditions_of(chosen: SearchFilter) -> list[Condition]:
    """One for each field that restricts."""
    conditions: list[Condition] = []
    if chosen.paths:
        conditions.append(_join_any([_path(path) for path in chosen.paths]))
    if chosen.types:
        conditions.append(_join_any([_type(name.lower().lstrip(".")) for name in chosen.types]))
    if chosen.tags:
        tag = f"document_id IN (SELECT document_id FROM document_labels WHERE kind = '{Kind.TAG}' AND value = ?)"
        conditions.append(_any_of(tag, tuple(tag.lower() for tag in chosen.tags)))
    if chosen.dated_from is not None:
        conditions.append(Condition(f"{MOMENT} >= ?", (chosen.dated_from * NANOSECONDS,)))
    if chosen.dated_before is not None:
        conditions.append(Condition(f"{MOMENT} < ?", (chosen.dated_before * NANOSECONDS,)))
    return conditions


def _path(path: str) -> Condition:
    if any(character in path for character in "*?["):
        return Condition("path GLOB ?", (path,))
    plain = path.strip("/")
    folder = f"{plain}/"
    return Condition("(path = ? OR substr(path, 1, ?) = ?)", (plain, len(folder), folder))


def _type(name: str) -> Condition:
    suffix = f".{name}"
    return Condition("(media_type = ? OR substr(lower(path), ?) = ?)", (name, -len(suffix), suffix))


def _any_of(text: str, values: tuple[str, ...]) -> Condition:
    """No value at all: nothing passes."""
    return _join_any([Condition(text, (value,)) for value in values]) if values else Condition("0", ())


def _join_any(conditions: list[Condition]) -> Condition:
    values: tuple[Any, ...] = tuple(value for condition in conditions for value in condition.values)
    return Condition("(" + " OR ".join(condition.text for condition in conditions) + ")", values)
