"""May an adapter share batches with other voices, and does that pay? Tried with the adapter itself, while others run.

A few tokens of each voice are computed apart and together, as a prompt and as a further token. The numbers must be the
same to the bit, since readers must not be able to tell who else is being served.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from config.errors import EngineError
from server.engine.backend import EngineBackend, Logits, Span

Voice = str | None
"""An adapter's sha256, or None for the base alone."""
FIRST_TOKEN = 20
SMALLEST_PROMPT = 3
NUM_TRIES = 3
"""Sums run over the cells in the order in which they lie. Where free cells are scattered, a try may get them in another
order, so that even equal batches differ in the last bit; the next try gets others."""
NUM_ROWS = 4
"""Of each voice in the batches that are timed."""
NUM_ROUNDS = 3
ENOUGH_SECONDS = 1.0
"""No further round is begun after so long."""
MAX_TOKENS = 3 * (SMALLEST_PROMPT + 3)
"""Cells that must be free: three voices with prompts of 3, 4 and 5 tokens and one more token each."""


@dataclass(frozen=True, slots=True)
class MixTimes:
    """Seconds of processor time of a decode step of two voices with four rows each: one after the other, and in one
    batch. Not of the clock's time, so that what others compute meanwhile does not decide.
    """

    apart: float
    together: float


def find_mix_problem(backend: EngineBackend, voices: Sequence[Voice]) -> str:
    """Empty where these voices (two or three) give the same numbers together. Uses MAX_TOKENS cells and frees them."""
    try:
        with _emptied(backend):
            if any(_is_same(backend, voices) for _ in range(NUM_TRIES)):
                return ""
    except EngineError as error:
        return backend.mix_problem or error.message.rstrip(".")
    return "the same tokens gave other numbers in a batch of several voices than in batches of their own"


def time_mixing(backend: EngineBackend, first: Voice, second: Voice, turn_steps: int) -> MixTimes:
    """The best of a few rounds. A turn of `turn_steps` begins with a switch, which is a part of each of its steps.

    Raises EngineError.
    """
    began, apart, together = time.perf_counter(), [], []
    with _emptied(backend):
        for _ in range(NUM_ROUNDS):
            apart.append(sum(_step_seconds(backend, (voice,), turn_steps) for voice in (first, second)))
            together.append(_step_seconds(backend, (first, second), None))
            if time.perf_counter() - began > ENOUGH_SECONDS:
                break
    return MixTimes(min(apart), min(together))


def _is_same(backend: EngineBackend, voices: Sequence[Voice]) -> bool:
    """Each prompt is longer than the one before, so that no rows can be taken for another voice's."""
    prompts = [
        Span(sequence, 0, _tokens(SMALLEST_PROMPT + index), wants_logits=True, adapter=voice)
        for index, (sequence, voice) in enumerate(zip(backend.spare_sequences, voices, strict=False))
    ]
    further = [replace(span, start=len(span.tokens), tokens=_tokens(1)) for span in prompts]
    apart = [[*_rows(backend, [span]), *_rows(backend, [more])] for span, more in zip(prompts, further, strict=True)]
    _empty(backend)
    together = [_rows(backend, prompts), _rows(backend, further)]
    _empty(backend)
    return all(
        np.array_equal(apart[voice][step], together[step][voice]) for voice in range(len(prompts)) for step in range(2)
    )


def _rows(backend: EngineBackend, spans: list[Span]) -> list[Logits]:
    backend.decode(spans)
    return [backend.logits(index).copy() for index in range(len(spans))]


def _step_seconds(backend: EngineBackend, voices: Sequence[Voice], turn_steps: int | None) -> float:
    """Of a batch like the one before; where turns are taken, with its share of the first one's switch."""
    seconds = []
    for _ in range(2):
        _empty(backend)
        spans = [
            Span(sequence, 0, _tokens(NUM_ROWS), wants_logits=True, adapter=voice)
            for sequence, voice in zip(backend.spare_sequences, voices, strict=False)
        ]
        begin = time.process_time()
        backend.decode(spans)
        seconds.append(time.process_time() - begin)
    switch, steady = seconds
    return steady if turn_steps is None else steady + max(0.0, switch - steady) / turn_steps


def _tokens(count: int) -> tuple[int, ...]:
    return tuple(range(FIRST_TOKEN, FIRST_TOKEN + count))


@contextmanager
def _emptied(backend: EngineBackend) -> Iterator[None]:
    try:
        yield
    finally:
        _empty(backend)


def _empty(backend: EngineBackend) -> None:
    for sequence in backend.spare_sequences:
        backend.truncate(sequence, 0)
