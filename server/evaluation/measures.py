"""The numbers: ranking measures by ir-measures, telling answerable from unanswerable, refusals, latency, intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.evaluation.judging import EXPECTED, SYSTEMS, Judged

RESAMPLES = 2_000
SEED = 7
MEASURES = ("R@1", "R@5", "R@10", "nDCG@10", "RR")
REFUSAL = ("auroc", "precision", "recall", "wrong")
ALLOWED_WRONG = (0.0, 0.01, 0.02, 0.05, 0.1)
"""Shares of the answerable questions that somebody might let a floor refuse."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over `num` questions, from 0 to 1, with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float
    num: int

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


@dataclass(frozen=True, slots=True)
class Latency:
    """Of one retrieval, in milliseconds, by percentile."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Scores:
    """values: by "system.measure" ("fused.R@1") over the answerable questions, and by "refusal.name":

    auroc: the share of pairs of an answerable and an unanswerable question in which the answerable one has the higher
    relevance score. precision: of the refused questions, those without an answer. recall: of the questions without an
    answer, those refused. wrong: of the questions with an answer, those refused (less is better). None where the file
    has no question of the kind.
    """

    values: Mapping[str, Interval | None]
    latency: Latency
    num_answerable: int
    num_unanswerable: int


@dataclass(frozen=True, slots=True)
class FloorChoice:
    """What a relevance floor would do: the share of answerable questions it refuses, and of unanswerable ones."""

    floor: float
    wrong: float
    recall: float


def floor_choices(judged: Sequence[Judged]) -> list[FloorChoice]:
    """The highest floor for each share of ALLOWED_WRONG, each floor once; empty where a kind of question is missing."""
    answerable = np.sort(_relevance([item for item in judged if item.question.is_answerable]))
    unanswerable = _relevance([item for item in judged if not item.question.is_answerable])
    if not len(answerable) or not len(unanswerable):
        return []
    floors = sorted({float(np.floor(answerable[int(share * len(answerable))] * 100) / 100) for share in ALLOWED_WRONG})
    return [
        FloorChoice(floor, float((answerable < floor).mean()), float((unanswerable < floor).mean())) for floor in floors
    ]


def score(judged: Sequence[Judged]) -> Scores:
    """All measures of all systems; the same seed gives the same intervals."""
    answerable = [item for item in judged if item.question.is_answerable]
    unanswerable = [item for item in judged if not item.question.is_answerable]
    values: dict[str, Interval | None] = {}
    for system in SYSTEMS:
        for measure, column in measure_runs(answerable, system).items():
            values[f"{system}.{measure}"] = bootstrap_mean(column)
    refused = [item for item in judged if item.is_refused]
    values["refusal.auroc"] = bootstrap_auroc(_relevance(answerable), _relevance(unanswerable))
    values["refusal.precision"] = bootstrap_mean(_shares(refused, lambda item: not item.question.is_answerable))
    values["refusal.recall"] = bootstrap_mean(_shares(unanswerable, lambda item: item.is_refused))
    values["refusal.wrong"] = bootstrap_mean(_shares(answerable, lambda item: item.is_refused))
    return Scores(values, latency_of(judged), len(answerable), len(unanswerable))


def measure_runs(judged: Sequence[Judged], system: str) -> dict[str, Numbers]:
    """For each measure the questions' values. Recall counts expected places; RR is the reciprocal rank of the first."""
    import ir_measures

    measures = [ir_measures.parse_measure(name) for name in MEASURES]
    qrels = {
        item.question.id: {f"{EXPECTED} {number}": 1 for number in range(1, len(item.question.relevant) + 1)}
        for item in judged
    }
    runs = {item.question.id: {name: -float(rank) for rank, name in enumerate(item.runs[system])} for item in judged}
    columns = {name: np.zeros(len(judged)) for name in MEASURES}
    rows = {item.question.id: row for row, item in enumerate(judged)}
    for metric in ir_measures.iter_calc(measures, qrels, runs) if judged else ():
        columns[str(metric.measure)][rows[metric.query_id]] = metric.value
    return columns


def bootstrap_mean(values: Numbers) -> Interval | None:
    """Percentile bootstrap (Efron 1979) over questions."""
    if not len(values):
        return None
    generator = np.random.default_rng(SEED)
    means = [values[generator.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)]
    return _interval(float(values.mean()), means, len(values))


def bootstrap_auroc(positive: Numbers, negative: Numbers) -> Interval | None:
    """Both groups are resampled."""
    if not len(positive) or not len(negative):
        return None
    generator = np.random.default_rng(SEED)
    draws = [
        auroc(generator.choice(positive, len(positive)), generator.choice(negative, len(negative)))
        for _ in range(RESAMPLES)
    ]
    return _interval(auroc(positive, negative), draws, len(positive) + len(negative))


def auroc(positive: Numbers, negative: Numbers) -> float:
    """Area under the ROC curve as the Mann-Whitney statistic: the share of pairs in the right order, ties for half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    not_above = np.searchsorted(ordered, positive, side="right")
    return float((below + not_above).mean() / (2 * len(negative)))


def latency_of(judged: Sequence[Judged]) -> Latency:
    milliseconds = [1000 * item.retrieval.seconds for item in judged]
    p50, p95, p99 = (float(value) for value in np.percentile(milliseconds, (50, 95, 99)))
    return Latency(p50, p95, p99)


def _interval(value: float, draws: Sequence[float], num: int) -> Interval:
    low, high = np.percentile(draws, (2.5, 97.5))
    return Interval(value, float(low), float(high), num)


def _relevance(judged: Sequence[Judged]) -> Numbers:
    return np.asarray([item.relevance for item in judged], dtype=np.float64)


def _shares(judged: Sequence[Judged], holds: Callable[[Judged], bool]) -> Numbers:
    return np.asarray([holds(item) for item in judged], dtype=np.float64)
