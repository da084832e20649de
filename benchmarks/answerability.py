"""What may tell, before anything is generated, whether the documents answer a question; and how well it does. Pure.

The floor asks how near the best chunk is. A question may be near to a chunk that does not answer it; the other features
look at it from other sides. `benchmarks.fit_answerability` measures them, and fits a logistic model of several.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.documents import Hit
from ingest.lexical import COMMON_WORDS
from server.evaluation.measures import auroc

NUM_COMPARED = 10
NUM_COVERING = 3
"""Chunks that may cover the question's words: as many as usually become sources."""

RESAMPLES = 1_000
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+|; ")
SUFFIXES = ("ings", "ing", "ies", "ied", "ers", "er", "ed", "es", "s", "ly")

Numbers = NDArray[np.float64]
Truth = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Evidence:
    """similarity: cosine of the best chunk. margin: how far it stands out from the mean of the next nine.

    coverage: share of the question's words, rare words counting more, that stand together in one sentence of the first
    chunks. agreement: 1 / rank, in the search by words, of the chunk that is best by meaning.
    """

    similarity: float
    margin: float
    coverage: float
    agreement: float


def evidence_of(
    question: str,
    dense: Sequence[Hit],
    lexical: Sequence[Hit],
    first_texts: Sequence[str],
    weights: Mapping[str, float],
) -> Evidence:
    """dense, lexical: best first. first_texts: of the chunks that would become sources. weights: by stem."""
    scores = [hit.score for hit in dense[:NUM_COMPARED]]
    best, others = (scores[0] if scores else 0.0), scores[1:]
    ranks = [rank for rank, hit in enumerate(lexical, 1) if dense and hit.chunk_id == dense[0].chunk_id]
    return Evidence(
        similarity=best,
        margin=best - sum(others) / len(others) if others else 0.0,
        coverage=coverage(question, first_texts, weights),
        agreement=1 / ranks[0] if ranks else 0.0,
    )


def coverage(question: str, texts: Sequence[str], weights: Mapping[str, float]) -> float:
    asked = stems(question)
    total = sum(weights[stem] for stem in asked)
    sentences = [stems(part) for text in texts[:NUM_COVERING] for part in SENTENCE_END.split(text)]
    held = [sum(weights[stem] for stem in asked & sentence) for sentence in sentences]
    return max(held, default=0.0) / total if total else 0.0


def word_weights(question: str, counts: Mapping[str, int], num_chunks: int) -> dict[str, float]:
    """As BM25 weighs them. counts: in how many of the chunks each stem stands."""
    return {
        stem: math.log((num_chunks - counts.get(stem, 0) + 0.5) / (counts.get(stem, 0) + 0.5) + 1)
        for stem in stems(question)
    }


def stems(text: str) -> frozenset[str]:
    """Of its telling words, roughly."""
    return frozenset(_stem(word) for word in re.findall(r"[^\W_]+", text.lower()) if word not in COMMON_WORDS)


def _stem(word: str) -> str:
    ends = (suffix for suffix in SUFFIXES if word.endswith(suffix) and len(word) - len(suffix) >= 3)
    return word.removesuffix(next(ends, ""))


@dataclass(frozen=True, slots=True)
class Gain:
    """How much larger one AUROC is than another on the same questions, with its 95 % paired bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


def gain(scores: Numbers, over: Numbers, is_answerable: Truth) -> Gain:
    generator = np.random.default_rng(7)
    groups = [np.flatnonzero(is_answerable), np.flatnonzero(~is_answerable)]

    def difference(positive: NDArray[np.int64], negative: NDArray[np.int64]) -> float:
        return auroc(scores[positive], scores[negative]) - auroc(over[positive], over[negative])

    draws = [difference(*(generator.choice(group, len(group)) for group in groups)) for _ in range(RESAMPLES)]
    low, high = np.percentile(draws, (2.5, 97.5))
    return Gain(difference(*groups), float(low), float(high))


def threshold_for(scores: Numbers, is_answerable: Truth, wrong: float) -> float:
    """The highest one below which at most this share of the answerable questions lies."""
    ordered = np.sort(scores[is_answerable])
    return float(ordered[int(wrong * len(ordered))])


@dataclass(frozen=True, slots=True)
class Refused:
    """Shares: of the answerable questions (wrongly), None where there is none, and of the unanswerable ones."""

    wrong: float | None
    recall: float

    def __str__(self) -> str:
        return f"{'-' if self.wrong is None else f'{self.wrong:.3f}'} / {self.recall:.3f}"


def refused_below(threshold: float, scores: Numbers, is_answerable: Truth) -> Refused:
    is_below = scores < threshold
    wrong = float(is_below[is_answerable].mean()) if is_answerable.any() else None
    return Refused(wrong, float(is_below[~is_answerable].mean()))
