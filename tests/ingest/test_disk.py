"""A disk that fills up, a size limit, and a directory that cannot be written: a clear error, nothing corrupted, and the
next run recovers (R13). Each in a process of its own: limits and mounts hold for the whole process.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from config.datadir import DataDirectory
from config.errors import DataDirectoryError
from ingest.disk import clear_disk_errors
from tests.ingest.generations_world import Setup, write_documents

CHILD = """
import os, resource, shutil, sys
from pathlib import Path
from config.datadir import DataDirectory
from config.errors import DataDirectoryError
from ingest.verify import verify
from tests.ingest.generations_world import Setup, ignore, write_documents

how, root, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
setup, ballast = Setup(DataDirectory(root)), root / "ballast"
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

def narrow():
    if how == "limit":
        largest = max(path.stat().st_size for path in root.rglob("*") if path.is_file())
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 20_000, hard))
    else:
        with ballast.open("wb") as file:
            file.truncate(0)
            room = shutil.disk_usage(root).free - int(how) * 1024
            file.write(bytes(room))

def widen():
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    ballast.unlink(missing_ok=True)

with setup.opened() as generations:
    generations.ingest(folder, "kb")
    write_documents(folder, 40)
    (folder / "d0.md").write_text("# Item 0\\n\\nEdited while the disk was full.\\n")
    narrow()
    try:
        generations.ingest(folder, "kb")
    except DataDirectoryError as error:
        print("TOLD", error)
    finally:
        widen()
    known = {document.path for document in generations.documents()}
    assert known >= {f"d{number}.md" for number in range(1, 8)}, known
    print("AGAIN", generations.ingest(folder, "kb").num_unchanged)
    # These documents are near-duplicates, of which Chroma's graph now and then leaves one without a way to it.
    findings = verify(generations, repair=True, on_progress=ignore)
    assert findings.is_good, findings
with setup.opened() as generations:
    assert generations.ingest(folder, "kb").num_unchanged == 40
    findings = verify(generations, repair=False, on_progress=ignore)
    assert findings.is_good, findings
    print("GOOD", findings.num_chunks)
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=3_000, env=environment)


def can_mount() -> bool:
    """User namespaces let anybody mount a tmpfs of their own; some systems switch them off."""
    if shutil.which("unshare") is None:
        return False
    return run("unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt").returncode == 0


NEEDS_MOUNT = pytest.mark.skipif(not can_mount(), reason="user namespaces with mounts are not available here")


def assert_told_and_recovered(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr[-3000:]
    assert "TOLD" in done.stdout, done.stdout
    assert "run the command again" in done.stdout
    assert "GOOD" in done.stdout


def test_a_file_size_limit(tmp_path: Path) -> None:
    write_documents(tmp_path / "docs")
    done = run(sys.executable, "-c", CHILD, "limit", str(tmp_path / "data"), str(tmp_path / "docs"))
    assert_told_and_recovered(done)


@NEEDS_MOUNT
@pytest.mark.parametrize("kilobytes_left", ["0", "400", "16000"])
def test_a_full_disk(tmp_path: Path, kilobytes_left: str) -> None:
    """Full for SQLite already, full for Chroma at its first write, and at a later one. Chroma waits for ever once a
    write of its own fails, so it must never be let to.
    """
    write_documents(tmp_path / "docs")
    data = tmp_path / "data"
    data.mkdir()
    script = 'mount -t tmpfs -o size=80m tmpfs "$1" && exec "$2" -c "$3" "$4" "$1" "$5"'
    arguments = (str(data), sys.executable, CHILD, kilobytes_left, str(tmp_path / "docs"))
    assert_told_and_recovered(run("unshare", "-rm", "sh", "-c", script, "sh", *arguments))


READING = """
import sys
from pathlib import Path
from config.datadir import DataDirectory
from config.errors import DataDirectoryError
from tests.ingest.generations_world import Setup

try:
    Setup(DataDirectory(Path(sys.argv[1]))).open()
except DataDirectoryError as error:
    print("TOLD", error)
"""


@NEEDS_MOUNT
def test_a_read_only_directory(tmp_path: Path) -> None:
    write_documents(tmp_path / "docs")
    setup = Setup(DataDirectory(tmp_path / "data"))
    with setup.opened() as generations:
        generations.ingest(tmp_path / "docs", "kb")
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$2" -c "$3" "$1"'
    done = run("unshare", "-rm", "sh", "-c", script, "sh", str(setup.data.root), sys.executable, READING)
    assert "cannot be written" in done.stdout, done.stderr[-3000:]
    with setup.opened() as generations:
        assert generations.ingest(tmp_path / "docs", "kb").num_unchanged == 8
        assert generations.check_parity().is_good


def test_what_concerns_other_files_is_not_taken_for_the_disk(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), clear_disk_errors(tmp_path / "data"):
        raise PermissionError(13, "Permission denied", "/somewhere/else.txt")
    with pytest.raises(DataDirectoryError, match="cannot be written"), clear_disk_errors(tmp_path / "data"):
        raise PermissionError(13, "Permission denied", str(tmp_path / "data" / "x"))
    with pytest.raises(ValueError, match="just a bug"), clear_disk_errors(tmp_path):
        raise ValueError("just a bug")
