"""The whole server as a process of its own, on the default models: ready, streaming, and stopped by a signal."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.model
START = "import sys; from config.settings import load_settings; from server.app import run_server\n"
MAIN = f"{START}if __name__ == '__main__': sys.exit(run_server(load_settings()))"
READY_SECONDS = 90


@dataclass(frozen=True, slots=True)
class Running:
    process: subprocess.Popen[str]
    url: str
    data: Path

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.data / 'local.key').read_text(encoding='utf-8').strip()}"}


def start(data: Path, port: int, **changes: str) -> subprocess.Popen[str]:
    environment = os.environ | {"HOUSEVOICE_DATA_DIR": str(data), "HOUSEVOICE_PORT": str(port), **changes}
    return subprocess.Popen([sys.executable, "-c", MAIN], env=environment, stderr=subprocess.PIPE, text=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    port = free_port()
    process = start(tmp_path / "data", port)
    server = Running(process, f"http://127.0.0.1:{port}", tmp_path / "data")
    try:
        wait_until_ready(server)
        yield server
    finally:
        process.kill()
        process.communicate()


def wait_until_ready(server: Running) -> None:
    ends_at = time.monotonic() + READY_SECONDS
    while time.monotonic() < ends_at and server.process.poll() is None:
        try:
            if httpx.get(f"{server.url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail("the server did not become ready")


def test_it_serves_refuses_a_second_owner_and_stops_on_a_signal(running: Running) -> None:
    second = start(running.data, free_port())
    _, complaint = second.communicate(timeout=30)
    assert second.returncode == 2
    assert str(running.process.pid) in complaint
    assert running.url in complaint.replace("\n", "")

    body = {"model": "smollm2-135m", "messages": [{"role": "user", "content": "Count."}], "stream": True}
    with httpx.stream(
        "POST", f"{running.url}/v1/chat/completions", json=body, headers=running.headers, timeout=60
    ) as response:
        lines = response.iter_lines()
        first = next(lines)
        running.process.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line.startswith("data: ")]
    assert first.startswith("data: ")
    assert rest[-1] == "data: [DONE]"
    assert any('"finish_reason":"stop"' in line or '"finish_reason":"length"' in line for line in rest)
    assert running.process.wait(timeout=30) == 0


def test_a_missing_model_is_one_clear_message(tmp_path: Path) -> None:
    process = start(tmp_path / "data", free_port(), HOUSEVOICE_MODELS_BASE=str(tmp_path / "none.gguf"))
    _, complaint = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "none.gguf" in complaint
    assert "Traceback" not in complaint


def test_a_taken_port_is_one_clear_message(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(tmp_path / "data", taken.getsockname()[1])
        _, complaint = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "HOUSEVOICE_PORT" in complaint
    assert "Traceback" not in complaint
