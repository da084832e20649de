"""Measures how long decodes take on this machine, once: what was found is kept in the data directory.

Kept figures hold for one base, library build, number of threads and CPU; anything else is measured again. A machine
that was busy meanwhile gave figures that are used, but not kept.
"""

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config.errors import EngineError
from server.engine.backend import Backend, Span
from server.engine.steptime import StepTable

FORMAT = 1
BUDGET_SECONDS = 2.0
ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 48, 64, 96, 128, 192, 256, 384, 512)
NUM_PASSES = 5
FIRST_TOKEN, NUM_TOKENS = 100, 150
"""Tokens to compute: any that each vocabulary has."""
BUSY_SHARE = 0.6
"""Our threads got less than this share of their time: somebody else had the rest."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trial:
    """share: of the time that all threads could have computed, how much they did; 1 where a GPU computes."""

    table: StepTable
    share: float


def known_table(path: Path, origin: str) -> StepTable | None:
    """What was measured before under the same conditions, if it is there and whole."""
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["format"] == FORMAT and kept["origin"] == _digest(origin):
            return StepTable(tuple((int(rows), float(seconds)) for rows, seconds in kept["points"]))
    return None


def find_table(backend: Backend, path: Path, origin: str, num_threads: int) -> StepTable | None:
    """Known, or measured now; the backend must be empty, and is left so.

    origin: base, library and settings that decide the speed; the CPU is added. num_threads: that compute; 0 where a GPU
    does. None where nothing can be measured.
    """
    origin = f"{origin}, {_cpu()}"
    if (known := known_table(path, origin)) is not None:
        return known
    try:
        trial = measure(backend, num_threads)
    except EngineError as error:
        log.warning("Step times could not be measured: %s", error)
        return None
    if trial.share >= BUSY_SHARE:
        _keep(path, origin, trial.table)
    else:
        log.warning("The machine was busy while step times were measured; they are measured again at the next start.")
    return trial.table


def measure(backend: Backend, num_threads: int, budget_seconds: float = BUDGET_SECONDS) -> Trial:
    """The best of some passes for each number of rows, as far as the budget goes. Raises EngineError."""
    try:
        _decode(backend, 1)  # reads the weights from disk
        _decode(backend, min(8, backend.shape.max_batch_tokens))
        begin, began_computing = time.perf_counter(), time.process_time()
        table = _best_of_passes(backend, begin + budget_seconds)
        seconds, computed = time.perf_counter() - begin, time.process_time() - began_computing
    finally:
        backend.truncate(0, 0)
    return Trial(table, computed / (seconds * num_threads) if num_threads else 1.0)


def _best_of_passes(backend: Backend, deadline: float) -> StepTable:
    """The first pass may take half of the time; the others repeat it, the small numbers first, so that a moment in
    which somebody else computed spoils no more than one of the figures that are compared."""
    now = time.perf_counter()
    best = dict(_one_pass(backend, _sizes(backend), now + (deadline - now) / 2, {}))
    for _ in range(NUM_PASSES - 1):
        for rows, seconds in _one_pass(backend, tuple(best), deadline, best):
            best[rows] = min(best[rows], seconds)
    return StepTable(tuple(sorted(best.items())))


def _one_pass(
    backend: Backend, sizes: tuple[int, ...], deadline: float, known: dict[int, float]
) -> Iterator[tuple[int, float]]:
    """Stops before a size that would take longer than there is time; the first one is always measured."""
    per_row = 0.0
    for rows in sizes:
        if rows > 1 and time.perf_counter() + known.get(rows, per_row * rows) > deadline:
            return
        seconds = _decode(backend, rows)
        per_row = seconds / rows
        yield rows, seconds


def _decode(backend: Backend, rows: int) -> float:
    """Seconds for so many rows at the beginning of an empty sequence, with the logits of as many as can be kept."""
    num_drafts = min(rows, backend.shape.max_logits) - 1
    tokens = tuple(FIRST_TOKEN + position % NUM_TOKENS for position in range(rows))
    begin = time.perf_counter()
    backend.decode([Span(0, 0, tokens, wants_logits=True, num_drafts=num_drafts)])
    float(np.max(backend.logits(0, num_drafts)))  # a GPU is done only now
    seconds = time.perf_counter() - begin
    backend.truncate(0, 0)
    return seconds


def _sizes(backend: Backend) -> tuple[int, ...]:
    shape = backend.shape
    most = min(shape.max_batch_tokens, shape.num_cells, shape.max_positions)
    return tuple(rows for rows in ROWS if rows <= most)


def _keep(path: Path, origin: str, table: StepTable) -> None:
    """Under its name only when it is complete. Where it cannot be written, it is measured again next time."""
    kept = {"format": FORMAT, "origin": _digest(origin), "points": table.points}
    unfinished = path.with_suffix(".new")
    try:
        unfinished.write_text(json.dumps(kept) + "\n", encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        log.warning("Step times could not be written to %s (%s).", path, error.strerror)


def _digest(origin: str) -> str:
    return hashlib.sha256(origin.encode()).hexdigest()


def _cpu() -> str:
    """Its model as Linux names it, and how many of them this process may use."""
    name = platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {len(os.sched_getaffinity(0))} CPUs"
