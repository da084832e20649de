"""Move the index of a release before generations, which lay in the data directory's root, to generation 1.

Nothing old is touched until the new is complete: a process killed at any point leaves an index that the next start
opens. What was there before ends up in `backups/before-generations-<time>/`; an older release that is started on the
directory refuses, because the facts' version in `housevoice.db` is beyond all that it knows.
"""

import logging
import re
import shutil
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from config.database import copy_database, migrate, open_database
from config.datadir import DataDirectory
from config.errors import DataDirectoryError
from config.files import dated, sync_folder, sync_tree
from ingest.generation import Card, IndexFolder, Recipe

FACT_TABLES = ("documents", "chunks", "failures", "doubtful_vectors", "lexical_rows", "lexical_words")
"""Of the last release without generations; children before parents does not matter, foreign keys are off."""

BEYOND_OLD_RELEASES = 1_000
SPARE_BYTES = 10_000_000
"""Room that is asked for beside the copies, for what SQLite writes meanwhile."""

RECIPE = re.compile(r"parser (?P<parser>\d+), chunker (?P<chunker>\d+)/(?P<tokens>\d+), embedder (?P<embedder>.+)")
logger = logging.getLogger(__name__)


def move_old_layout(data: DataDirectory, folder: IndexFolder, wanted: Recipe, embedder_source: str) -> None:
    """Nothing where it is done already. Raises DataDirectoryError where the disk has no room for the copies.

    wanted: taken for an index that is empty. embedder_source: where the old embedder is looked for.
    """
    if not data.database.exists() or not _has_facts(data.database):
        return
    _require_room(data)
    backup = dated(data.backups, "before-generations")
    logger.warning("The index moves to %s; a backup of what was there goes to %s.", folder.path, backup)
    backup.mkdir(parents=True, mode=0o700)
    copy_database(data.database, backup / data.database.name)
    if folder.current() is None:
        _make_first(data, folder, wanted, embedder_source)
    if data.chroma.exists():
        data.chroma.rename(backup / data.chroma.name)
        sync_folder(data.root)
    _drop_facts(data.database)


def _has_facts(database: Path) -> bool:
    with closing(open_database(database)) as connection:
        row = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'documents' AND type = 'table'").fetchone()
    return row is not None


def _require_room(data: DataDirectory) -> None:
    vectors = sum(file.stat().st_size for file in data.chroma.rglob("*") if file.is_file())
    num_bytes = data.database.stat().st_size * 3 + vectors + SPARE_BYTES
    free = shutil.disk_usage(data.root).free
    if free < num_bytes:
        raise DataDirectoryError(
            f"Moving the index of an older release needs {num_bytes / 1e6:.0f} MB, and {data.root} has"
            f" {free / 1e6:.0f} MB free.",
            "Free some space and start again; nothing was changed.",
        )


def _make_first(data: DataDirectory, folder: IndexFolder, wanted: Recipe, embedder_source: str) -> None:
    """Under another name first; the rename makes it count."""
    partial = DataDirectory(folder.path / "moving")
    if partial.root.exists():
        shutil.rmtree(partial.root)
    partial.root.mkdir(parents=True, mode=0o700)
    copy_database(data.database, partial.database)
    _keep_facts_alone(partial.database)
    if data.chroma.exists():
        shutil.copytree(data.chroma, partial.chroma)
    number = folder.next_number()
    recipe = _recipe_in(partial.database, wanted)
    folder.write_in(partial.root, Card(number, recipe, embedder_source, True, int(time.time())))
    sync_tree(partial.root)
    partial.root.rename(folder.path / str(number))
    folder.make_current(number)


def _recipe_in(database: Path, wanted: Recipe) -> Recipe:
    """By which most documents were made. Those of another embedder are taken up anew by the next ingest."""
    with closing(open_database(database)) as connection:
        rows = connection.execute("SELECT recipe FROM documents").fetchall()
    for text, _ in Counter(str(row["recipe"]) for row in rows).most_common():
        if found := RECIPE.fullmatch(text):
            versions = int(found["chunker"]), int(found["parser"])
            return Recipe(found["embedder"], int(found["tokens"]), *versions, wanted.tokenizer)
    return wanted


def _keep_facts_alone(database: Path) -> None:
    """Keys, adapters and requests stay where they were."""
    with closing(open_database(database)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for name in _tables(connection):
            if not name.startswith((*FACT_TABLES, "sqlite_")) and name != "schema_version":
                connection.execute(f'DROP TABLE "{name}"')
        connection.execute("DELETE FROM schema_version WHERE component != 'facts'")
        connection.execute("VACUUM")


def _drop_facts(database: Path) -> None:
    with closing(open_database(database)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("BEGIN IMMEDIATE")
        for name in FACT_TABLES:
            connection.execute(f'DROP TABLE IF EXISTS "{name}"')
        _close_to_old_releases(connection)
        connection.execute("COMMIT")
        connection.execute("VACUUM")


def mark_new_layout(data: DataDirectory) -> None:
    """In a new data directory: an older release started on it would make an index of its own in the root."""
    with closing(open_database(data.database)) as connection:
        migrate(connection, "facts-in-generations", ())
        _close_to_old_releases(connection)


def _close_to_old_releases(connection: sqlite3.Connection) -> None:
    connection.execute(
        "INSERT INTO schema_version VALUES ('facts', ?)"
        " ON CONFLICT (component) DO UPDATE SET version = excluded.version",
        (BEYOND_OLD_RELEASES,),
    )


def _tables(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return [str(row["name"]) for row in rows]
