import subprocess
import sys
from pathlib import Path

import pytest

from config.database import migrate, open_database
from config.datadir import DataDirectory
from config.errors import DataDirectoryError

HOLD = """
import sys, time
from pathlib import Path
from config.datadir import DataDirectory
with DataDirectory(Path(sys.argv[1])).own("server", "http://127.0.0.1:1"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_owner_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        owner = data.owner()
        assert owner is not None
        assert (owner.pid, owner.url) == (holder.pid, "http://127.0.0.1:1")
        with pytest.raises(DataDirectoryError) as caught, data.own("ingest"):
            pass
        assert f"process {holder.pid}" in caught.value.message
        assert "http://127.0.0.1:1" in caught.value.message
        holder.kill()
    with data.own("ingest"):
        assert data.owner() is not None
    assert data.owner() is None


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryError, match="HOUSEVOICE_DATA_DIR"):
        DataDirectory(tmp_path / "file" / "data").create()


def test_migrations_run_once_in_order_and_newer_files_are_refused(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "x.db")
    first, second = "CREATE TABLE a (x INTEGER)", "INSERT INTO a VALUES (1); INSERT INTO a VALUES (2)"
    migrate(connection, "demo", [first])
    migrate(connection, "demo", [first, second])
    migrate(connection, "demo", [first, second])
    assert connection.execute("SELECT count(*) FROM a").fetchone()[0] == 2
    with pytest.raises(DataDirectoryError, match="newer release"):
        migrate(connection, "demo", [first])
    connection.close()


def test_a_failing_migration_leaves_nothing_behind(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "x.db")
    with pytest.raises(Exception, match="no such table"):
        migrate(connection, "demo", ["CREATE TABLE a (x); INSERT INTO nowhere VALUES (1)"])
    connection.rollback()
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master")]
    assert "a" not in tables
    connection.close()
