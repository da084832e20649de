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
def running(
    command: Sequence[str], settings: Mapping[str, str], ready_url: str, log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """The process is ready at the start of the block and gone at its end. Raises SystemExit with the end of its log
    where it does not become ready.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(command, env={**environment(), **settings}, stdout=output, stderr=output)
    try:
        _wait(process, ready_url, log)
        yield process
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


class StolenTime:
    """How much of the processors' time the host of a virtual machine gives to others: no load average shows it."""

    def __init__(self) -> None:
        self._begin = self._read()

    def share(self) -> float:
        """Since this was made, from 0 to 1; 0 where the system does not tell."""
        total, stolen = (now - before for now, before in zip(self._read(), self._begin, strict=True))
        return stolen / total if total > 0 else 0.0

    @staticmethod
    def _read() -> tuple[int, int]:
        """Of all processors, and what of it was stolen, in ticks. Guests' time is part of the user's."""
        path = Path("/proc/stat")
        if not path.exists():
            return 0, 0
        ticks = [int(value) for value in path.read_text(encoding="ascii").splitlines()[0].split()[1:9]]
        return sum(ticks), ticks[7]


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
