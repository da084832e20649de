"""An answer that runs in a circle is led out of it: the DRY penalty over the answer's own tokens. Pure.

Every token that would lengthen a repetition is made less likely, the more so the longer the repetition is already.
Other than a repetition penalty it leaves single words alone, so names, numbers and line heads may recur. Method: p-e-w,
"DRY", github.com/oobabooga/text-generation-webui/pull/5677; sampling.cpp in llama.cpp has the same. The prompt is left
out of account here, since answers should quote their sources word for word.
"""

import numpy as np
from numpy.typing import NDArray

ALLOWED_LENGTH = 6
"""So many tokens may recur in a row for nothing: titles of documents, labels, units."""
GROWTH = 1.75
MAX_PENALTY = 100.0
INITIAL_ROOM = 256


class Repeats:
    """Grows by `push`, a token at a time; `penalties` tells which tokens would go on with a repetition."""

    def __init__(self, multiplier: float) -> None:
        """multiplier: logits for the first token that is one too many."""
        self._multiplier = multiplier
        self._tokens = np.zeros(INITIAL_ROOM, np.int64)
        self._num_tokens = 0
        self._matches = np.zeros(INITIAL_ROOM, np.int64)
        """For each token, how many tokens up to it are the same as the answer's last ones."""

    def push(self, token: int) -> None:
        end = self._num_tokens
        if end == len(self._tokens):
            self._tokens = np.concatenate([self._tokens, np.zeros(end, np.int64)])
            self._matches = np.concatenate([self._matches, np.zeros(end, np.int64)])
        before = np.concatenate([[0], self._matches[: max(end - 1, 0)]])[:end]
        self._matches[:end] = np.where(self._tokens[:end] == token, before + 1, 0)
        self._tokens[end] = token
        self._num_tokens = end + 1

    def penalties(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Tokens (each once) and the logits to take from them."""
        last = max(self._num_tokens - 1, 0)
        found = np.flatnonzero(self._matches[:last] >= ALLOWED_LENGTH)
        excess = np.minimum(self._matches[found] - ALLOWED_LENGTH, 50)
        followers, order = np.unique(self._tokens[found + 1], return_inverse=True)
        worst = np.zeros(len(followers))
        np.maximum.at(worst, order, np.minimum(self._multiplier * GROWTH**excess, MAX_PENALTY))
        return followers, worst
