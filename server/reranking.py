"""A second look at the first candidates by a cross-encoder, within a time limit.

Reading is done in a thread of its own, a few passages at a time. When time is up, the answer goes on with the fused
order, and the thread stops after the passages that it holds. So does it while the model is still being loaded.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from config.errors import ModelError
from config.settings import RetrievalSettings, Settings
from ingest.cross_encoder import BATCH, find_cross_encoder, load_cross_encoder
from server.candidates import Candidate

logger = logging.getLogger(__name__)


class Scorer(Protocol):
    def score(self, query: str, texts: list[str]) -> list[float]:
        """One number a text, larger is better. Blocks; called from one thread."""


@dataclass(frozen=True, slots=True)
class Reranked:
    """outcome: "reranked N", or why the order is as it was; for the record and for `--explain`."""

    candidates: list[Candidate]
    outcome: str


class Reranker:
    """Loads at the first use. Thread-safe; questions take turns."""

    def __init__(self, load: Callable[[], Scorer], settings: RetrievalSettings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, "rerank")
        self._load = load
        self._scorer: Future[Scorer] | None = None
        self._lock = threading.Lock()

    def wait_until_loaded(self) -> None:
        """For a process that asks one question only. Raises ModelError."""
        self._loading().result()

    def rerank(self, query: str, candidates: Sequence[Candidate]) -> Reranked:
        """The first `rerank_candidates` by their new scores, best first; the rest behind them as they were."""
        first, rest = (
            list(candidates[: self._settings.rerank_candidates]),
            candidates[self._settings.rerank_candidates :],
        )
        if not first:
            return Reranked([], "nothing to rerank")
        ends_at = time.monotonic() + self._settings.rerank_seconds
        try:
            scorer = self._loading().result(self._settings.rerank_seconds)
            stop = threading.Event()
            scoring = self._thread.submit(_score, scorer, query, [passage_of(item) for item in first], stop)
            try:
                scores = scoring.result(max(0.0, ends_at - time.monotonic()))
            finally:
                stop.set()
        except TimeoutError:
            return Reranked(list(candidates), f"gave up after {self._settings.rerank_seconds:g} s")
        except (ModelError, RuntimeError) as error:  # RuntimeError: torch, or the thread is shut down already
            return Reranked(list(candidates), f"failed: {error}")
        scored = [replace(item, rerank_score=score) for item, score in zip(first, scores, strict=True)]
        scored.sort(key=lambda item: -(item.rerank_score or 0.0))
        return Reranked([*scored, *rest], f"reranked {len(scored)}")

    def _loading(self) -> "Future[Scorer]":
        with self._lock:
            if self._scorer is None:
                self._scorer = self._thread.submit(self._loaded)
            return self._scorer

    def _loaded(self) -> Scorer:
        try:
            return self._load()
        except ModelError as error:
            logger.error("Answers are not reranked: %s", error)
            raise


def open_reranker(settings: Settings) -> Reranker | None:
    """None where none is set. Raises ModelError where the setting names nothing usable; loading comes later."""
    if not settings.retrieval.reranker:
        return None
    path = find_cross_encoder(settings)
    return Reranker(lambda: load_cross_encoder(path), settings.retrieval)


def passage_of(item: Candidate) -> str:
    """With title and headings, which often hold the name that the question asks about."""
    above = " > ".join((item.document.title, *item.chunk.heading_path))
    return f"{above}\n{item.chunk.text}"


def _score(scorer: Scorer, query: str, texts: list[str], stop: threading.Event) -> list[float]:
    scores: list[float] = []
    for start in range(0, len(texts), BATCH):
        if stop.is_set():
            break
        scores += scorer.score(query, texts[start : start + BATCH])
    return scores
