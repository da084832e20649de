"""The rules as they are kept: who may read a knowledge base, a folder, a document.

A rule is never widened by silence. A place whose statement has gone or cannot be read keeps its old groups, with the
problem noted beside them; where there were none yet, it is closed to everybody but admins.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ingest.access.statements import FolderStatement, Statement
from ingest.tables import FactTables

GONE = "The file has gone"
UNSAID = "The file no longer says so"
MOVED = "The documents were moved away from it"
LINE_GONE = "The access line has gone"


class RuleKind(StrEnum):
    KNOWLEDGE_BASE = "knowledge_base"
    FOLDER = "folder"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Rule:
    """One place and its groups.

    place: "" for a knowledge base, a folder's absolute path, or a document's path in the knowledge base.
    pattern: of file names in the folder, "" for all of it.
    problem: why the groups are no longer what a file says; empty where they are.
    is_stated: False where nobody ever named groups, as the first statement could not be read.
    """

    knowledge_base: str
    kind: RuleKind
    place: str = ""
    pattern: str = ""
    groups: tuple[str, ...] = ()
    problem: str = ""
    is_stated: bool = True


def settle_folder(knowledge_base: str, folder: str, known: Sequence[Rule], found: FolderStatement | None) -> list[Rule]:
    """The folder's rules after its access file was looked at; None where there is none."""
    if found is None:
        return [replace(rule, problem=GONE) for rule in known]
    if found.problem:
        closed = Rule(knowledge_base, RuleKind.FOLDER, folder, problem=found.problem, is_stated=False)
        return [replace(rule, problem=found.problem) for rule in known] or [closed]
    stated = [
        Rule(knowledge_base, RuleKind.FOLDER, folder, pattern, groups) for pattern, groups in found.groups.items()
    ]
    unsaid = [rule for rule in known if rule.is_stated and rule.pattern not in found.groups]
    return [*stated, *(replace(rule, problem=UNSAID) for rule in unsaid)]


def settle_document(knowledge_base: str, path: str, known: Rule | None, found: Statement | None) -> Rule | None:
    """The document's rule after it was read; None where it has none."""
    if found is None:
        return replace(known, problem=LINE_GONE) if known else None
    if found.problem and known:
        return replace(known, problem=found.problem)
    return Rule(knowledge_base, RuleKind.DOCUMENT, path, "", found.groups, found.problem, is_stated=not found.problem)


class AccessRules:
    """The table of rules. Writes join the transaction that the caller has opened on the tables."""

    def __init__(self, tables: FactTables) -> None:
        self._tables = tables

    def rules(self, knowledge_base: str | None = None) -> list[Rule]:
        """By knowledge base, kind and place."""
        with self._tables.reading() as connection:
            rows = connection.execute(
                "SELECT * FROM access_rules WHERE ?1 IS NULL OR knowledge_base = ?1"
                " ORDER BY knowledge_base, kind, place, pattern",
                (knowledge_base,),
            ).fetchall()
        return [rule_of(row) for row in rows]

    def of_document(self, knowledge_base: str, path: str) -> Rule | None:
        with self._tables.reading() as connection:
            row = connection.execute(
                "SELECT * FROM access_rules WHERE knowledge_base = ? AND kind = ? AND place = ?",
                (knowledge_base, RuleKind.DOCUMENT, path),
            ).fetchone()
        return rule_of(row) if row else None

    def put(self, rules: Iterable[Rule]) -> None:
        """Add or replace by place."""
        with self._tables.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO access_rules VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(*_place(rule), json.dumps(rule.groups), rule.problem, rule.is_stated) for rule in rules],
            )

    def delete(self, rules: Iterable[Rule]) -> None:
        with self._tables.transaction() as connection:
            connection.executemany(
                "DELETE FROM access_rules WHERE knowledge_base = ? AND kind = ? AND place = ? AND pattern = ?",
                [_place(rule) for rule in rules],
            )


def rule_of(row: sqlite3.Row) -> Rule:
    """A row of access_rules."""
    return Rule(
        knowledge_base=row["knowledge_base"],
        kind=RuleKind(row["kind"]),
        place=row["place"],
        pattern=row["pattern"],
        groups=tuple(json.loads(row["group_names"])),
        problem=row["problem"],
        is_stated=bool(row["is_stated"]),
    )


def _place(rule: Rule) -> tuple[str, str, str, str]:
    return rule.knowledge_base, rule.kind, rule.place, rule.pattern
