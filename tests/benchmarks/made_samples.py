"""Samples as a run would have taken them, with what a test cares about filled in."""

from typing import Any

from benchmarks.bench.samples import Sample
from benchmarks.bench.systems import HOUSEVOICE
from benchmarks.bench.workloads import WARM

PLAIN: dict[str, Any] = {
    "model": "tiny",
    "workload": WARM,
    "case": "",
    "size": 9,
    "system": HOUSEVOICE,
    "round": 0,
    "turn": 1,
    "first_seconds": 1.0,
    "seconds": 3.0,
    "num_prompt": 2_000,
    "num_cached": 1_000,
    "num_tokens": 9,
    "gap_seconds": 0.25,
    "load_average": 0.5,
    "answers": ("yes",),
}


def sample(**changes: Any) -> Sample:
    return Sample(**{**PLAIN, **changes})
