"""A measured system in a process of its own, so that none sees what another one loaded."""

import json
import os
import subprocess
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
"""What the process printed as its last line, in JSON."""

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "ANONYMIZED_TELEMETRY": "False",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}


def run_apart(command: Sequence[str], *, tokenizer_threads: bool) -> Row:
    """Its row. tokenizer_threads: whether Hugging Face's tokenizers may use several. Exits with what it complained."""
    environment = os.environ | QUIET | {"TOKENIZERS_PARALLELISM": str(tokenizer_threads).lower()}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed:\n{done.stderr[-3000:]}")
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row
