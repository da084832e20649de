"""Systems under test as processes of their own: started on a free port, waited for, stopped."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

READY_SECONDS = 300
STOP_SECONDS = 30
POLL_SECONDS = 0.1
WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}
"""How the threads of all systems wait: as housevoice sets it for itself (decision 0008)."""


@contextmanager
def running(command: Sequence[str], settings: Mapping[str, str], ready_url: str, log: Path) -> Iterator[None]:
    """The process is ready at the start of the block and gone at its end. Raises SystemExit with the end of its log
    where it does not become ready.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(command, env={**environment(), **settings}, stdout=output, stderr=output)
    try:
        _wait(process, ready_url, log)
        yield
    finally:
        stop(process)


def environment() -> dict[str, str]:
    """This process's, without housevoice settings that were meant for another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HOUSEVOICE_")} | WAITING


def stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def num_threads() -> int:
    """What every system computes with: the cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _wait(process: "subprocess.Popen[bytes]", ready_url: str, log: Path) -> None:
    ends_at = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < ends_at:
        try:
            if httpx.get(ready_url, timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(POLL_SECONDS)
    raise SystemExit(f"{process.args!r} did not become ready:\n{log.read_text(errors='replace')[-3000:]}")
