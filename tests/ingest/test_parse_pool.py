"""Worker processes: a hostile file costs only itself, and leaves with the right reason."""

import os
from pathlib import Path

import pytest

from config.errors import ConfigError
from ingest.parse.pool import ParsePool, ParseWorker
from ingest.parse.reasons import ParseError, Reason
from ingest.parse.wire import Limits

LIMITS = Limits(seconds=60, memory_bytes=2_000_000_000, max_file_bytes=10_000_000)


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
    worker = ParseWorker(Limits(60, 2_000_000_000, max_file_bytes=10))
    assert refusal(worker, big) == Reason.TOO_LARGE
    assert refusal(worker, tmp_path / "gone.txt") == Reason.UNREADABLE
    worker.close()


def test_a_worker_that_does_not_start_is_no_files_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.parse.pool.START_SECONDS", 0.0)
    path = tmp_path / "a.txt"
    path.write_text("x y z")
    worker = ParseWorker(LIMITS)
    with pytest.raises(ConfigError, match="parse_memory_bytes"):
        worker.parse(path, path.name)


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
