"""The next token from a row of logits: bias, penalties, mask, temperature, top-k, top-p, min-p, in this order. Pure.

Temperature 0 takes the best token. Repetition penalty as in llama.cpp: tokens among the last 64 of prompt and answer,
positive logits divided, negative ones multiplied. DRY: see `repeats`. Presence and frequency penalties as OpenAI
defines them: over the answer alone, subtracted.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from server.engine.backend import Logits
from server.engine.messages import Sampling, TokenChoice, TokenLogprob
from server.engine.repeats import Repeats

REPETITION_WINDOW = 64
NEGLIGIBLE = 30.0
"""Tokens this many nats below the best are left out: together less than 1e-8 of the probability."""
SEED_MASK = 2**64 - 1
CERTAIN = 1e6
"""Logits beyond all that a model gives."""

Mask = NDArray[np.bool_]
"""Shape (vocabulary,); True where a token is allowed."""


class Sampler:
    """Draws one request's tokens. Equal seeds, equal logits: equal tokens."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        seed = None if sampling.seed is None else sampling.seed & SEED_MASK
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._recent = deque(prompt[-REPETITION_WINDOW:], maxlen=REPETITION_WINDOW)
        self._answer: Counter[int] = Counter()
        self._repeats = Repeats(sampling.dry_multiplier) if sampling.dry_multiplier else None
        self._is_adjusting = bool(
            sampling.logit_bias
            or sampling.presence_penalty
            or sampling.frequency_penalty
            or sampling.repetition_penalty != 1
            or sampling.dry_multiplier
        )
        self._num_along = 0
        """Tokens chosen so far that are the beginning of `sampling.leaning`; -1 once the answer has left it."""

    def choose(self, logits: Logits, mask: Mask | None = None) -> int:
        """The next token; `logits` is not modified."""
        if self._is_adjusting:
            logits = self._adjust(logits)
        favoured = self._favoured()
        if favoured is not None:
            logits = logits.copy()
            logits[favoured] += CERTAIN if self._is_settled() else self._sampling.leaning_bias
        if mask is not None:
            logits = np.where(mask, logits, -np.inf)
        token = int(logits.argmax()) if self._sampling.temperature == 0 else self._draw(logits)
        self._recent.append(token)
        self._answer[token] += 1
        if self._repeats:
            self._repeats.push(token)
        self._num_along = self._num_along + 1 if token == favoured else -1
        return token

    def _favoured(self) -> int | None:
        """The next token of the answer that is leaned to, while there is one."""
        return self._sampling.leaning[self._num_along] if 0 <= self._num_along < len(self._sampling.leaning) else None

    def _is_settled(self) -> bool:
        settled = self._sampling.leaning_settled
        return settled is not None and self._num_along >= settled

    def _adjust(self, logits: Logits) -> Logits:
        adjusted = logits.copy()
        for token, bias in self._sampling.logit_bias:
            adjusted[token] += bias
        if self._sampling.repetition_penalty != 1:
            recent = np.unique(np.fromiter(self._recent, np.int64))
            values, penalty = adjusted[recent], self._sampling.repetition_penalty
            adjusted[recent] = np.where(values > 0, values / penalty, values * penalty)
        for token, count in self._answer.items():
            adjusted[token] -= self._sampling.presence_penalty + count * self._sampling.frequency_penalty
        if self._repeats:
            tokens, penalties = self._repeats.penalties()
            adjusted[tokens] -= penalties
        return adjusted

    def _draw(self, logits: Logits) -> int:
        scaled = logits.astype(np.float64) / self._sampling.temperature
        best = float(scaled.max())
        if not math.isfinite(best):
            return int(scaled.argmax())
        tokens = np.flatnonzero(scaled > best - NEGLIGIBLE)
        weights = np.exp(scaled[tokens] - best)
        tokens, weights = self._truncate(tokens, weights)
        cumulative = np.cumsum(weights)
        index = int(np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right"))
        return int(tokens[min(index, len(tokens) - 1)])

    def _truncate(
        self, tokens: NDArray[np.int64], weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """top-k, top-p, min-p; the most likely token always stays."""
        top_k, top_p, min_p = self._sampling.top_k, self._sampling.top_p, self._sampling.min_p
        if not (0 < top_k < len(tokens) or top_p < 1 or min_p > 0):
            return tokens, weights
        order = np.argsort(-weights, kind="stable")[: top_k or None]
        tokens, weights = tokens[order], weights[order]
        if top_p < 1:
            cumulative = np.cumsum(weights)
            num_kept = int(np.searchsorted(cumulative, top_p * cumulative[-1])) + 1
            tokens, weights = tokens[:num_kept], weights[:num_kept]
        kept = weights >= min_p * weights[0]
        return tokens[kept], weights[kept]


def describe_choice(logits: Logits, token: int, num_top: int, piece: Callable[[int], bytes]) -> TokenChoice:
    """Log-probabilities of the raw logits, before any sampling setting: the token's and the `num_top` best ones'."""
    best = float(logits.max())
    logsum = best + math.log(np.exp(logits - best).sum(dtype=np.float64))
    top = np.argpartition(logits, len(logits) - max(num_top, 1))[len(logits) - num_top :]
    ranked = [int(token) for token in top[np.argsort(-logits[top], kind="stable")]]

    def logprob(which: int) -> TokenLogprob:
        return TokenLogprob(which, piece(which), float(logits[which]) - logsum)

    return TokenChoice(logprob(token), tuple(logprob(which) for which in ranked))
