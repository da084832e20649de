"""Worker processes: a hostile file costs only itself, and leaves with the right reason."""

import io
import os
import zipfile
from pathlib import Path

import docx
import pytest

from ingest.parse.pool import ParsePool, ParseWorker
from ingest.parse.reasons import ParseError, Reason
from ingest.parse.wire import Limits

FILES = Path("../shared/data/files")
LIMITS = Limits(seconds=20, memory_bytes=2_000_000_000, max_file_bytes=10_000_000)


def refusal(worker: ParseWorker, path: Path) -> str:
    with pytest.raises(ParseError) as caught:
        worker.parse(path, path.name)
    return caught.value.reason


def test_text_and_hash_come_back(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# T\n\nBody – ünïcode 🚨\n", encoding="utf-8")
    worker = ParseWorker(LIMITS)
    parsed = worker.parse(path, path.name)
    worker.close()
    assert parsed.document.blocks[0].text == "Body – ünïcode 🚨"
    assert len(parsed.content_hash) == 64


def test_limits_on_size_and_reading(tmp_path: Path) -> None:
    big = tmp_path / "big.txt"
    big.write_bytes(b"x" * 11)
    worker = ParseWorker(Limits(20, 2_000_000_000, max_file_bytes=10))
    assert refusal(worker, big) == Reason.TOO_LARGE
    assert refusal(worker, tmp_path / "gone.txt") == Reason.UNREADABLE
    worker.close()


def paragraphs_bomb(path: Path, count: int) -> None:
    """A small DOCX whose tree takes gigabytes: python-docx needed 3.8 GB for 4.5 million paragraphs."""
    plain = io.BytesIO()
    docx.Document().save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "word/document.xml":
                data = data.replace(b"<w:sectPr", b"<w:p/>" * count + b"<w:sectPr", 1)
            target.writestr(name, data)


def test_memory_is_bounded_and_the_next_file_is_read(tmp_path: Path) -> None:
    bomb, good = tmp_path / "bomb.docx", tmp_path / "good.txt"
    paragraphs_bomb(bomb, 3_000_000)
    good.write_text("still here")
    worker = ParseWorker(Limits(20, 300_000_000, 100_000_000))
    assert refusal(worker, bomb) in (Reason.TOO_LARGE, Reason.DAMAGED)
    assert worker.parse(good, good.name).document.blocks[0].text == "still here"
    worker.close()


def test_time_is_bounded_and_the_next_file_is_read(tmp_path: Path) -> None:
    slow, good = tmp_path / "slow.docx", tmp_path / "good.txt"
    paragraphs_bomb(slow, 4_000_000)
    good.write_text("still here")
    worker = ParseWorker(Limits(0.01, 4_000_000_000, 100_000_000))
    assert refusal(worker, slow) == Reason.TIMED_OUT
    worker.close()
    worker = ParseWorker(LIMITS)
    assert worker.parse(good, good.name).document.blocks[0].text == "still here"
    worker.close()


def test_blocking_file_ends_by_the_clock(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.txt"
    os.mkfifo(pipe)
    worker = ParseWorker(Limits(0.5, 2_000_000_000, 1000))
    assert refusal(worker, pipe) == Reason.TIMED_OUT
    worker.close()


def test_workers_see_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUSEVOICE_API_KEY", "hv-secret")
    worker = ParseWorker(LIMITS)
    path = tmp_path / "a.txt"
    path.write_text("x y z")
    worker.parse(path, path.name)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    if not children.exists():
        pytest.skip("this kernel does not list child processes")
    seen = [Path(f"/proc/{child}/environ").read_bytes() for child in children.read_text().split()]
    worker.close()
    assert seen
    assert not any(b"hv-secret" in environment for environment in seen)


def test_many_files_over_several_workers(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.txt" for number in range(80)]
    for path in paths:
        path.write_text(f"text of {path.stem}")
    with ParsePool(LIMITS, 2) as pool:
        futures = [pool.submit(path, path.name) for path in paths]
        found = [future.result().document.blocks[0].text for future in futures]
    assert found == [f"text of {number}" for number in range(80)]


@pytest.mark.skipif(not FILES.is_dir(), reason="the public file collection is not here")
def test_every_file_of_the_collection_has_text_or_a_reason() -> None:
    """392 files, many broken on purpose; the worker that reads them survives or is replaced."""
    outcomes: dict[str, int] = {}
    with ParsePool(LIMITS, 2) as pool:
        futures = [pool.submit(path, path.name) for path in sorted(FILES.rglob("*")) if path.is_file()]
        for future in futures:
            error = future.exception()
            assert error is None or isinstance(error, ParseError)
            outcome = error.reason if isinstance(error, ParseError) else "text"
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert outcomes["text"] >= 250
    assert set(outcomes) <= {"text", *Reason}
