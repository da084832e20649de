"""llama-bench: how fast the library decodes one stream when nothing is around it."""

import json
import os
import subprocess
from typing import Any

from benchmarks.bench.peers import Peers
from benchmarks.bench.processes import StolenTime, environment, num_threads
from benchmarks.bench.samples import Sample
from benchmarks.bench.workloads import NO_BRAND, SINGLE
from config.models import ModelFile

LLAMA_BENCH = "llama-bench"


def decode_rate(peers: Peers, base: ModelFile, number: int, num_tokens: int) -> Sample:
    """As a sample of the single stream, with the first token left out on both sides. Raises SystemExit."""
    options = {"-m": str(base.path), "-p": "0", "-n": str(num_tokens), "-t": str(num_threads()), "-fa": "1", "-r": "1"}
    command = [str(peers.llama_bench), *(part for item in options.items() for part in item), "-o", "json"]
    load, stolen = os.getloadavg()[0], StolenTime()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"llama-bench failed:\n{done.stderr[-2000:]}")
    stolen_share = stolen.share()
    row: dict[str, Any] = json.loads(done.stdout)[0]
    return Sample(
        model=base.name,
        workload=SINGLE,
        case=NO_BRAND,
        size=1,
        system=LLAMA_BENCH,
        round=number,
        turn=0,
        first_seconds=0.0,
        seconds=num_tokens / row["avg_ts"],
        num_prompt=0,
        num_cached=0,
        num_tokens=num_tokens + 1,
        gap_seconds=1 / row["avg_ts"],
        load_average=load,
        stolen_share=stolen_share,
    )
