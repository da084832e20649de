"""Ways of fusing two result lists, compared on lists that were searched once.

Each way sees what `server.retrieval.fuse` sees: both lists with their scores. Documents are ranked by their best chunk;
of equal scores the better cosine comes first. XQuAD and CLAPNQ stand side by side, so that a gain on one at the other's
cost is seen.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config.settings import RetrievalSettings
from ingest.documents import Hit
from server.evaluation.judging import Judged
from server.retrieval import fuse

Scores = dict[str, float]
Way = Callable[[Sequence[Hit], Sequence[Hit]], Scores]
Normalise = Callable[[Sequence[Hit]], Scores]


@dataclass(frozen=True)
class Lists:
    """Both result lists of one question, best first. paths: the document of each chunk. relevant: the wanted one."""

    relevant: str
    dense: tuple[Hit, ...]
    lexical: tuple[Hit, ...]
    paths: Mapping[str, str]

    def rank(self, way: Way) -> float:
        """Of the wanted document, from 1; infinite where no list has it."""
        scores = way(self.dense, self.lexical)
        cosines = {hit.chunk_id: hit.score for hit in self.dense}
        order = sorted(scores, key=lambda chunk_id: (-scores[chunk_id], -cosines.get(chunk_id, 0.0)))
        documents = list(dict.fromkeys(self.paths[chunk_id] for chunk_id in order))
        return documents.index(self.relevant) + 1 if self.relevant in documents else float("inf")


def lists_of(judged: Iterable[Judged]) -> list[Lists]:
    """Of the answerable questions. Every hit of both searches is among a retrieval's candidates, with its score."""
    found = []
    for item in judged:
        if not item.question.is_answerable:
            continue
        candidates = item.retrieval.candidates
        dense = [Hit(c.chunk.chunk_id, c.dense_score) for c in candidates if c.dense_score is not None]
        lexical = [Hit(c.chunk.chunk_id, c.lexical_score) for c in candidates if c.lexical_score is not None]
        found.append(
            Lists(
                item.question.relevant[0].document,
                tuple(sorted(dense, key=lambda hit: -hit.score)),
                tuple(sorted(lexical, key=lambda hit: -hit.score)),
                {c.chunk.chunk_id: c.document.path for c in candidates},
            )
        )
    return found


def save_lists(path: Path, lists: Sequence[Lists]) -> None:
    rows = [
        {
            "relevant": item.relevant,
            "dense": [[hit.chunk_id, hit.score] for hit in item.dense],
            "lexical": [[hit.chunk_id, hit.score] for hit in item.lexical],
            "paths": dict(item.paths),
        }
        for item in lists
    ]
    path.write_text(json.dumps(rows), encoding="utf-8")


def load_lists(path: Path) -> list[Lists]:
    return [
        Lists(
            row["relevant"],
            tuple(Hit(*hit) for hit in row["dense"]),
            tuple(Hit(*hit) for hit in row["lexical"]),
            row["paths"],
        )
        for row in json.loads(path.read_text(encoding="utf-8"))
    ]


def ways(settings: RetrievalSettings) -> dict[str, Way]:
    """By name, simplest first; the served one is last."""
    chosen: dict[str, Way] = {
        "dense alone": lambda dense, _: _raw(dense),
        "lexical alone": lambda _, lexical: _raw(lexical),
    }
    chosen |= {f"reciprocal ranks, k={constant}": _ranks(constant) for constant in (1, 10, 60)}
    for name, normalise in NORMALISATIONS.items():
        chosen |= {f"{name}, dense share {share}": _convex(normalise, share) for share in (0.4, 0.5, 0.6, 0.7, 0.8)}
    for weight in (0.3, 0.4, 0.5):
        chosen[f"cosine + {weight} BM25 / best BM25"] = _sum_of(_raw, _by_best, weight)
    for weight in (0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.06, 0.08):
        chosen[f"cosine + {weight} BM25, absent is 0"] = _sum_of(_raw, _raw, weight)
        chosen[f"cosine + {weight} BM25, absent is the last"] = _served(settings, weight)
    chosen["served"] = _served(settings, settings.lexical_weight)
    return chosen


def sweep(sets: Mapping[str, Sequence[Lists]], settings: RetrievalSettings) -> str:
    """A Markdown table: for each way and set R@1, R@5 and RR, and how many questions miss the first and the first five
    places."""
    lines = [
        f"| way | {' | '.join(f'{name} R@1 | R@5 | RR | misses' for name in sets)} |",
        f"|---|{'---|' * 4 * len(sets)}",
    ]
    for name, way in ways(settings).items():
        cells = [_cells(np.asarray([lists.rank(way) for lists in questions])) for questions in sets.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(ranks: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> str:
    first, five = (ranks <= 1).mean(), (ranks <= 5).mean()
    return f"{first:.4f} | {five:.4f} | {(1 / ranks).mean():.4f} | {(ranks > 1).sum()}, {(ranks > 5).sum()}"


def _served(settings: RetrievalSettings, lexical_weight: float) -> Way:
    changed = settings.model_copy(update={"lexical_weight": lexical_weight})
    return lambda dense, lexical: {item.chunk_id: item.score for item in fuse(dense, lexical, changed)}


def _ranks(constant: int) -> Way:
    """Cormack, Clarke and Buettcher, SIGIR 2009."""

    def way(dense: Sequence[Hit], lexical: Sequence[Hit]) -> Scores:
        shares = [
            {hit.chunk_id: 1 / (constant + rank) for rank, hit in enumerate(hits, 1)} for hits in (dense, lexical)
        ]
        return _add(shares[0], shares[1])

    return way


def _convex(normalise: Normalise, share: float) -> Way:
    """Bruch, Gai and Ingber, TOIS 2023: share * dense + (1 - share) * lexical, both normalised."""

    def way(dense: Sequence[Hit], lexical: Sequence[Hit]) -> Scores:
        scaled = {chunk_id: share * score for chunk_id, score in normalise(dense).items()}
        return _add(scaled, {chunk_id: (1 - share) * score for chunk_id, score in normalise(lexical).items()})

    return way


def _sum_of(of_dense: Normalise, of_lexical: Normalise, weight: float) -> Way:
    def way(dense: Sequence[Hit], lexical: Sequence[Hit]) -> Scores:
        return _add(of_dense(dense), {chunk_id: weight * score for chunk_id, score in of_lexical(lexical).items()})

    return way


def _add(one: Scores, other: Scores) -> Scores:
    return {chunk_id: one.get(chunk_id, 0.0) + other.get(chunk_id, 0.0) for chunk_id in one | other}


def _raw(hits: Sequence[Hit]) -> Scores:
    return {hit.chunk_id: hit.score for hit in hits}


def _between(least: float | None) -> Normalise:
    """(score - least) / (best - least); without `least` the list's own last score."""

    def normalise(hits: Sequence[Hit]) -> Scores:
        if not hits:
            return {}
        low = hits[-1].score if least is None else least
        width = hits[0].score - low
        return {hit.chunk_id: (hit.score - low) / width if width else 1.0 for hit in hits}

    return normalise


def _z_scores(hits: Sequence[Hit]) -> Scores:
    """Above the list's last, so that what a list lacks is worth its last."""
    spread = float(np.std([hit.score for hit in hits])) if hits else 0.0
    return {hit.chunk_id: (hit.score - hits[-1].score) / spread if spread else 1.0 for hit in hits}


_by_best = _between(0.0)
NORMALISATIONS: dict[str, Normalise] = {
    "between last and best": _between(None),
    "shares of the best": _by_best,
    "z-scores": _z_scores,
}
