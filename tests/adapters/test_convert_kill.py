"""Conversion killed at every place where it touches the disk: there is a whole file or none, and the next try ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

from adapters.convert import convert_adapter
from adapters.gguf_check import check_adapter
from adapters.registry import file_sha256
from tests.adapters.test_convert import pair, peft_folder
from tests.adapters.tiny import write_base

ROOT = Path(__file__).parents[2]
CHILD = """
import json, os, signal, sys
from pathlib import Path
import gguf, numpy, safetensors
from adapters.convert import convert_adapter

peft, base, output = map(Path, sys.argv[1:])
convert_adapter(peft, base, "0" * 64, "halden", output.with_name("warm.gguf"))
os.environ["OMP_NUM_THREADS"] = "1"
TOUCHES = ("open", "os.rename", "os.remove", "os.mkdir")

def run(kill_at):
    number = 0
    def count(event, arguments):
        nonlocal number
        if event in TOUCHES:
            number += 1
            if number == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    convert_adapter(peft, base, "0" * 64, "halden", output)
    os._exit(0)

for kill_at in range(1, 200):
    child = os.fork() or run(kill_at)
    status = os.waitpid(child, 0)[1]
    was_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    print(json.dumps([was_killed, output.read_bytes().hex() if output.exists() else ""]), flush=True)
    if not was_killed:
        break
"""


def test_killed_anywhere_it_leaves_a_whole_file_or_none(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.gguf")
    peft = peft_folder(tmp_path / "peft", pair())
    output = tmp_path / "adapter.gguf"
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(peft), str(base), str(output)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    whole = convert_adapter(peft, base, "0" * 64, "halden", tmp_path / "again.gguf").read_bytes().hex()
    assert sum(was_killed for was_killed, _ in outcomes) >= 4
    assert all(content in ("", whole) for _, content in outcomes)
    assert outcomes[-1] == [False, whole]
    assert file_sha256(output) == file_sha256(tmp_path / "again.gguf")
    check_adapter(output, base, "0" * 64)
