"""Measures how long decodes take on this machine, once: what was found is kept in the data directory.

Kept figures hold for one base, library build, number of threads and CPU; anything else is measured again. On a machine
that was busy meanwhile, what our own threads computed is taken instead of the clock; it is used, but not kept.
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


@dataclass(frozen=True, slots=True)
class _Taken:
    """By the clock, and by all threads together."""

    seconds: float
    computed: float

    def best(self, other: "_Taken") -> "_Taken":
        return _Taken(min(self.seconds, other.seconds), min(self.computed, other.computed))


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
    """The best of some passes for each number of rows, as far as the budget goes. Raises EngineError.

    By the clock where our threads had the machine for themselves. Where others took much of it, what our threads
    computed is the better measure, and up to twice the budget is spent.
    """
    try:
        _decode(backend, 1)  # reads the weights from disk
        _decode(backend, min(8, backend.shape.max_batch_tokens))
        begin, began_computing = time.perf_counter(), time.process_time()
        best = _best_of_passes(backend, _Budget(budget_seconds, num_threads))
        seconds, computed = time.perf_counter() - begin, time.process_time() - began_computing
    finally:
        backend.truncate(0, 0)
    share = computed / (seconds * num_threads) if num_threads else 1.0
    points = [(rows, it.seconds if share >= BUSY_SHARE else it.computed / num_threads) for rows, it in best.items()]
    return Trial(StepTable(tuple(sorted(points))), share)


class _Budget:
    """Time that may be spent: counted by what our threads compute, and never more than twice as much by the clock."""

    def __init__(self, seconds: float, num_threads: int) -> None:
        self._seconds = seconds
        self._num_threads = num_threads
        self._begin, self._began_computing = time.perf_counter(), time.process_time()

    def left(self) -> float:
        seconds = time.perf_counter() - self._begin
        if not self._num_threads:
            return self._seconds - seconds
        computed = (time.process_time() - self._began_computing) / self._num_threads
        return self._seconds - max(computed, seconds / 2)


def _best_of_passes(backend: Backend, budget: _Budget) -> dict[int, _Taken]:
    """The first pass may take half of the budget; the others repeat it, the small numbers first, so that a moment in
    which somebody else computed spoils no more than one of the figures that are compared."""
    best = dict(_one_pass(backend, _sizes(backend), budget, budget.left() / 2, {}))
    for _ in range(NUM_PASSES - 1):
        for rows, taken in _one_pass(backend, tuple(best), budget, 0.0, best):
            best[rows] = best[rows].best(taken)
    return best


def _one_pass(
    backend: Backend, sizes: tuple[int, ...], budget: _Budget, reserve: float, known: dict[int, _Taken]
) -> Iterator[tuple[int, _Taken]]:
    """Stops before a size that would take more than there is beyond the reserve; a first one is always measured.

    One row comes twice in a row: a single stream repeats its step, which llama.cpp then need not plan again.
    """
    per_row = 0.0
    for rows in (1, *sizes):
        expected = known[rows].seconds if rows in known else per_row * rows
        if budget.left() - expected < reserve and (known or rows > 1):
            return
        taken = _decode(backend, rows)
        per_row = taken.seconds / rows
        yield rows, taken


def _decode(backend: Backend, rows: int) -> _Taken:
    """So many rows at the beginning of an empty sequence, with the logits of as many as can be kept."""
    num_drafts = min(rows, backend.shape.max_logits) - 1
    tokens = tuple(FIRST_TOKEN + position % NUM_TOKENS for position in range(rows))
    begin, began_computing = time.perf_counter(), time.process_time()
    backend.decode([Span(0, 0, tokens, wants_logits=True, num_drafts=num_drafts)])
    float(np.max(backend.logits(0, num_drafts)))  # a GPU is done only now
    taken = _Taken(time.perf_counter() - begin, max(time.process_time() - began_computing, 1e-9))
    backend.truncate(0, 0)
    return taken


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
