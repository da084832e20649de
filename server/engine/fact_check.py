"""Do restored fact blocks give the numbers that computed ones give? Tried on the real base before the engine serves.

A library or a model for which blocks do not work as we think would answer wrongly without any error, so a few tokens
are read in every way that serving uses: computed, restored, in both orders, and with one block less.
"""

from dataclasses import dataclass

import numpy as np

from config.errors import EngineError
from server.engine.backend import FactBackend, Logits, Span

TOLERANCE = 0.02
"""The largest Kullback-Leibler divergence, in nats, between next-token distributions from restored and computed blocks.

Cells that lie elsewhere are summed up in another order, and a small quantized model makes much of the last bit: up to
0.005 for SmolLM2-135M in Q4_1, where single logits move by 0.7. The saved bytes are compared as well, and exactly.
"""
SMALLEST_EFFECT = 1e-6
"""A block that moves the distribution by less than this is not seen at all."""
PREFIX, FIRST, SECOND, QUESTION = range(10, 22), range(40, 56), range(70, 82), range(100, 104)
MAIN, ONE, OTHER = range(3)
BLOCKS = {ONE: FIRST, OTHER: SECOND}
"""The first is the longest: the question stands behind it."""


def find_block_problem(backend: FactBackend) -> str:
    """Empty where blocks may be served. Uses the first three sequences, which must be empty, and empties them again."""
    if backend.block_problem:
        return backend.block_problem
    if backend.shape.num_sequences < 4:
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
        self._read(MAIN, 0, PREFIX, wants_logits=False)
        saved = {ONE: self._compute(ONE, FIRST), OTHER: self._compute(OTHER, SECOND)}
        computed, without = self._ask(ONE, OTHER), self._ask(ONE)
        for order in ((ONE, OTHER), (OTHER, ONE)):
            self._restore(order, saved)
            if any(self.backend.save(sequence) != saved[sequence] for sequence in order):
                return "restored cells are not those that were saved"
            if (found := _divergence(computed, self._ask(*order))) > TOLERANCE:
                return f"restored blocks move the next token's distribution by {found:.3g}, more than {TOLERANCE}"
        return "an attached block is not seen" if _divergence(computed, without) < SMALLEST_EFFECT else ""

    def _compute(self, sequence: int, block: range) -> bytes:
        self.backend.copy_prefix(MAIN, sequence, len(PREFIX))
        self._read(sequence, len(PREFIX), block, wants_logits=False)
        self.backend.forget_prefix(sequence, len(PREFIX))
        return self.backend.save(sequence)

    def _restore(self, order: tuple[int, ...], saved: dict[int, bytes]) -> None:
        for sequence in order:
            self.backend.truncate(sequence, 0)
        for sequence in order:
            self.backend.restore(sequence, saved[sequence], len(PREFIX), len(BLOCKS[sequence]))

    def _ask(self, *blocks: int) -> Logits:
        """Logits behind prefix, blocks and question; the prefix stays."""
        backend = self.backend
        for block in blocks:
            backend.share(block, MAIN)
        self._read(MAIN, len(PREFIX) + len(FIRST), QUESTION, wants_logits=True)
        logits = backend.logits(0).copy()
        backend.truncate(MAIN, len(PREFIX))
        return logits

    def _read(self, sequence: int, start: int, tokens: range, *, wants_logits: bool) -> None:
        self.backend.decode([Span(sequence, start, tuple(tokens), wants_logits)])


def _divergence(logits: Logits, other: Logits) -> float:
    """Infinite where either is no number."""
    one, two = (values - np.logaddexp.reduce(values) for values in (logits.astype(np.float64), other))
    found = float((np.exp(one) * (one - two)).sum())
    return found if np.isfinite(found) else float("inf")
