"""Is this adapter fit to serve? Tried in a throw-away process, so that a file that kills llama.cpp kills only that.

Header and shapes against the base, the hash, then four tokens with and without it: the numbers must be finite, and the
adapter must change them.
"""

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from config.errors import BadRequestError, HousevoiceError
from server.engine.backend import Backend, Logits, Span
from server.engine.llama import ContextShape, LlamaBackend
from server.engine.messages import AdapterRef

TIME_LIMIT_SECONDS = 60.0
NUM_TOKENS = 4
NUM_CELLS = 256
SMALLEST_EFFECT = 1e-4
"""Logits that differ by less are the same up to rounding: the adapter does nothing."""


def check_in_own_process(model: Path, adapter: AdapterRef) -> None:
    """Blocks, up to a minute. Raises BadRequestError with the reason."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(theirs, model, adapter), daemon=True)
    process.start()
    theirs.close()
    try:
        problem = ours.recv() if ours.poll(TIME_LIMIT_SECONDS) else _too_slow(adapter)
    except EOFError:
        problem = f"Adapter {adapter.name} kills the process that loads it."
    finally:
        process.kill()
        process.join()
        ours.close()
    if problem:
        raise BadRequestError(problem, "model", "bad_adapter")


def find_problem(model: Path, adapter: AdapterRef) -> str:
    """Empty where all is well. Loads the model; call it in a process of its own."""
    backend = LlamaBackend(model, ContextShape(NUM_CELLS, 2, NUM_TOKENS, 1))
    backend.load_adapter(adapter)
    without = _logits(backend, 0, None)
    with_adapter = _logits(backend, 1, adapter.sha256)
    backend.close()
    if not np.isfinite(with_adapter).all():
        return f"Adapter {adapter.name} makes the model compute values that are no numbers."
    if float(np.abs(with_adapter - without).max()) < SMALLEST_EFFECT:
        return f"Adapter {adapter.name} has no effect on this base."
    return ""


def _logits(backend: Backend, sequence: int, adapter: str | None) -> Logits:
    """Of four tokens, the later ones chosen by the model."""
    token, rows = 1, []
    for position in range(NUM_TOKENS):
        backend.decode([Span(sequence, position, (token,), wants_logits=True, adapter=adapter)])
        rows.append(backend.logits(0).copy())
        token = position + 2
    return np.concatenate(rows)


def _run(connection: Connection, model: Path, adapter: AdapterRef) -> None:
    try:
        connection.send(find_problem(model, adapter))
    except HousevoiceError as error:
        connection.send(str(error))


def _too_slow(adapter: AdapterRef) -> str:
    return f"Adapter {adapter.name} did not load and compute {NUM_TOKENS} tokens within {TIME_LIMIT_SECONDS:g} seconds."
