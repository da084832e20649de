"""A worker has no network: by the kernel where it allows that, by a hook of Python's everywhere."""

import json
import socket
import subprocess
import sys

import pytest

PROBE = """
import ctypes, json, socket, sys
from ingest.parse.isolation import cut_network
is_cut = cut_network()
refused = []
for attempt in (socket.socket, lambda: socket.getaddrinfo("localhost", 80), lambda: __import__("os").system("true")):
    try:
        attempt()
    except PermissionError:
        refused.append(True)
address = b"\\x02\\x00" + int(sys.argv[1]).to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
system = ctypes.CDLL(None)
native = system.connect(system.socket(2, 1, 0), address, 16)
print(json.dumps({"is_cut": is_cut, "num_refused": len(refused), "native": native}))
"""


@pytest.fixture
def probe() -> dict[str, int]:
    """What a process finds that has cut its network, while a server of ours listens on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = subprocess.run([sys.executable, "-c", PROBE, port], capture_output=True, check=True, text=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_python_code_opens_no_socket_and_starts_no_process(probe: dict[str, int]) -> None:
    assert probe["num_refused"] == 3


def test_native_code_reaches_nobody_where_the_kernel_cuts_the_network(probe: dict[str, int]) -> None:
    if not probe["is_cut"]:
        pytest.skip("this kernel grants no network namespace")
    assert probe["native"] == -1
