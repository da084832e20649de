"""One real server with the sample company for all flow tests, used from outside."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import openai
import pytest

from tests.flows.company import Company

READY_SECONDS = 120


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    data = tmp_path_factory.mktemp("company") / "data"
    command = [sys.executable, "-m", "server.cli.main", "--data-dir", str(data), "serve", "--sample", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200"}) as server:
        assert server.stderr is not None
        try:
            url = _ready_url(server)
            drain = threading.Thread(target=server.stderr.read, daemon=True)
            drain.start()
            key = (data / "local.key").read_text(encoding="utf-8").strip()
            with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
                yield Company(url, data, client)
        finally:
            server.terminate()
            assert server.wait(timeout=60) == 0
            drain.join(timeout=10)


def _ready_url(server: subprocess.Popen[str]) -> str:
    """The URL that the greeting prints. Standard error is read line by line until then."""
    assert server.stderr is not None
    ends_at = time.monotonic() + READY_SECONDS
    for line in server.stderr:
        found = re.search(r"ready at (http://\S+)", line)
        if found:
            return found[1]
        if time.monotonic() > ends_at:
            break
    pytest.fail("the server did not become ready")
