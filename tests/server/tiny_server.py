"""A real server process on the tiny base, with two brands of two versions each, used from outside."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.server.engine.lora_files import write_lora
from tests.server.tiny_base import write_tiny_base

START = "import sys; from config.settings import load_settings; from server.app import run_server\n"
MAIN = f"{START}if __name__ == '__main__': sys.exit(run_server(load_settings()))"
BRANDS = ("alder", "birch")
VERSIONS = tuple(f"{brand}@{number}" for brand in BRANDS for number in (1, 2))
READY_SECONDS = 280


@dataclass(slots=True)
class TinyServer:
    """`start` may be called again after the process was killed; folder holds all that lasts."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    url: str = ""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def base(self) -> Path:
        return self.folder / "tiny.gguf"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.data / 'local.key').read_text(encoding='utf-8').strip()}"}

    def prepare(self) -> None:
        """The base, and two brands that say the same words to it, so that only the adapter differs."""
        write_tiny_base(self.base)
        (self.folder / "brands").mkdir()
        for brand in BRANDS:
            (self.folder / "brands" / f"{brand}.toml").write_text(f'title = "{brand}"\n', encoding="utf-8")

    def start(self) -> None:
        port = _free_port()
        environment = {
            "HOUSEVOICE_DATA_DIR": str(self.data),
            "HOUSEVOICE_PORT": str(port),
            "HOUSEVOICE_MODELS_BASE": str(self.base),
            "HOUSEVOICE_MODELS_BASE_NAME": "tiny",
            "HOUSEVOICE_STORAGE_BRANDS_DIR": str(self.folder / "brands"),
            "HOUSEVOICE_ENGINE_THREADS": "1",
            "HOUSEVOICE_ENGINE_RESTART_BACKOFF_SECONDS": "0.05",
            "OMP_NUM_THREADS": "1",
        }
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", MAIN], env=os.environ | environment | self.settings, stderr=log
            )
        self.url = f"http://127.0.0.1:{port}"
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        ends_at = time.monotonic() + READY_SECONDS
        while time.monotonic() < ends_at and self.process and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError((self.folder / "server.log").read_text(encoding="utf-8")[-4_000:])

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def register_versions(self) -> None:
        """Through the API, so through all of its checks. alder@1 and birch@1 are active."""
        for seed, name in enumerate(VERSIONS, 1):
            brand, _, number = name.partition("@")
            path = write_lora(self.folder / f"{name}.gguf", self.base, seed=seed, magnitude=1.0).path
            made = self.post("/api/adapters", {"brand": brand, "path": str(path), "activate": number == "1"})
            assert made["name"] == name

    def post(self, path: str, body: dict[str, object]) -> Any:
        response = httpx.post(self.url + path, json=body, headers=self.headers, timeout=60)
        assert response.status_code < 300, response.text
        return response.json()

    def status(self) -> Any:
        return httpx.get(f"{self.url}/api/status", headers=self.headers, timeout=60).json()

    def restart_engine(self) -> None:
        """The next answer finds nothing cached."""
        before = self.status()["engine"]["pid"]
        os.kill(before, signal.SIGKILL)
        while self.status()["engine"]["pid"] == before or not self.status()["engine"]["is_ready"]:
            time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
