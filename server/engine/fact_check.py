"""Do restored fact blocks give the numbers that computed ones give? Tried on the real base before the engine serves.

A library or a model for which blocks do not work as we think would answer wrongly without any error, so a few tokens
are read in every way that serving uses: computed, restored, in both orders, and with one block less.
"""

from dataclasses import dataclass

import numpy as np

from config.errors import EngineError
from server.engine.backend import FactBackend, Logits, Span

TOLERANCE = 0.05
"""The largest difference of a logit. Cells that lie elsewhere are summed up in another order, which rounds otherwise."""
SMALLEST_EFFECT = 1e-3
"""A block that changes the logits by less than this is not seen at all."""
PREFIX, FIRST, SECOND, QUESTION = range(10, 22), range(40, 56), range(70, 82), range(100, 104)
MAIN, SCRATCH, ONE, OTHER = range(4)


def find_block_problem(backend: FactBackend) -> str:
    """Empty where blocks may be served. Uses the first four sequences, which must be empty, and empties them again."""
    if backend.block_problem:
        return backend.block_problem
    if backend.shape.num_sequences < OTHER + 1:
        return f"engine.max_sequences = {backend.shape.num_sequences} leaves no room for blocks"
    try:
        return _Trial(backend).problem()
    except EngineError as error:
        return f"the self-test failed: {error}"
    finally:
        for sequence in range(OTHER + 1):
            backend.truncate(sequence, 0)


@dataclass(frozen=True, slots=True)
class _Trial:
    backend: FactBackend

    def problem(self) -> str:
        saved = {sequence: self._compute(sequence, block) for sequence, block in ((ONE, FIRST), (OTHER, SECOND))}
        computed = self._ask(ONE, OTHER)
        without = self._ask(ONE)
        for sequence, block in ((ONE, FIRST), (OTHER, SECOND)):
            self.backend.truncate(sequence, 0)
            self.backend.restore(sequence, saved[sequence], len(PREFIX), len(block))
        for order in ((ONE, OTHER), (OTHER, ONE)):
            if (difference := _difference(self._ask(*order), computed)) > TOLERANCE:
                return f"restored blocks change a logit by {difference:.3g}, more than {TOLERANCE}"
        if _difference(computed, without) < SMALLEST_EFFECT:
            return "an attached block is not seen by the question"
        return ""

    def _compute(self, sequence: int, block: range) -> bytes:
        backend = self.backend
        self._read(MAIN, 0, PREFIX, wants_logits=False)
        backend.copy_prefix(MAIN, sequence, len(PREFIX))
        self._read(sequence, len(PREFIX), block, wants_logits=False)
        backend.forget_prefix(sequence, len(PREFIX))
        backend.truncate(MAIN, 0)
        return backend.save(sequence)

    def _ask(self, *blocks: int) -> Logits:
        """Logits behind prefix, blocks and question."""
        backend, longest = self.backend, max(len(FIRST), len(SECOND))
        self._read(MAIN, 0, PREFIX, wants_logits=False)
        for block in blocks:
            backend.share(block, MAIN)
        self._read(MAIN, len(PREFIX) + longest, QUESTION, wants_logits=True)
        logits = backend.logits(0).copy()
        backend.truncate(MAIN, 0)
        return logits

    def _read(self, sequence: int, start: int, tokens: range, *, wants_logits: bool) -> None:
        self.backend.decode([Span(sequence, start, tuple(tokens), wants_logits)], None)


def _difference(logits: Logits, other: Logits) -> float:
    return float(np.abs(logits - other).max())
