"""Prometheus metrics in a registry of their own; gauges are read from the engine and the index at each scrape."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.drift import Drift, Measure, counts_of
from server.engine.messages import EngineStatus
from server.fact_metrics import fact_metrics
from server.feedback import Feedback
from server.mix_metrics import mix_metrics
from server.records import RequestRecord
from server.step_metrics import step_metrics

SECONDS_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)


@dataclass(frozen=True, slots=True)
class IndexCounts:
    """Sizes of the three places a chunk lies in; equal where nothing is lost. `share_found`: of a sample, by search.

    generation: the live one's number; differs: in what it is not what the settings ask for.
    """

    num_documents: int
    num_chunks: int
    num_vectors: int
    num_lexical: int
    share_found: float
    generation: int = 0
    differs: tuple[str, ...] = ()


class Metrics:
    """Counts answers as they end. `engine` and `index` are asked for the present state; None where not known yet.

    The index has a registry of its own: its sizes would tell a reader of documents that are hidden from them.
    """

    def __init__(
        self,
        engine: Callable[[], EngineStatus],
        index: Callable[[], IndexCounts | None],
        drift: Callable[[], Sequence[Drift]] = tuple,
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_EngineState(engine))
        self.registry.register(_DriftState(drift))
        self.index_registry = CollectorRegistry()
        self.index_registry.register(_IndexState(index))
        labels = ["brand"]
        self._requests = self._counter("requests", "Answers by how they ended", ["brand", "outcome"])
        self._prompt = self._counter("prompt_tokens", "Prompt tokens, cached ones included", labels)
        self._cached = self._counter("cached_tokens", "Prompt tokens whose KV was reused", labels)
        self._answer = self._counter("answer_tokens", "Generated tokens", labels)
        self._refusals = self._counter("refusals", "Questions that no document answered", labels)
        self._citations = self._counter("citations", "Citations of retrieved sources", labels)
        self._voices = self._counter("voice_answers", "Answers of each version", ["brand", "version", "outcome"])
        judged = ["brand", "version", "measure", "verdict"]
        self._judged = self._counter("voice_judged", "What code could tell about them", judged)
        self._feedback = self._counter("feedback", "What users said", ["brand", "rating", "fault"])
        self._first = self._histogram("first_token_seconds", "From arrival to the first text", labels)
        self._total = self._histogram("answer_seconds", "From arrival to the end", labels)
        self._retrieval = self._histogram("retrieval_seconds", "Search and fusion", labels)
        self._rate = self._histogram(
            "answer_tokens_per_second", "Of one answer, after its first text", labels, (1, 2, 5, 10, 20, 50, 100, 200)
        )

    def count_feedback(self, given: Feedback) -> None:
        self._feedback.labels(given.brand, given.rating, given.fault or "none").inc()

    def count(self, record: RequestRecord) -> None:
        brand = record.brand
        self._requests.labels(brand, record.outcome).inc()
        self._prompt.labels(brand).inc(record.num_prompt_tokens)
        self._cached.labels(brand).inc(record.num_cached_tokens)
        self._answer.labels(brand).inc(record.num_answer_tokens)
        self._citations.labels(brand).inc(record.num_citations)
        self._refusals.labels(brand).inc(record.outcome == "refused")
        self._count_version(record)
        self._total.labels(brand).observe(record.total_seconds)
        self._retrieval.labels(brand).observe(record.retrieval_seconds)
        if record.first_token_seconds is not None:
            self._observe_text(record, record.first_token_seconds)

    def _count_version(self, record: RequestRecord) -> None:
        self._voices.labels(record.brand, record.version, record.outcome).inc()
        counts = counts_of(record)
        for measure in Measure if counts else ():
            part, whole = counts.of(measure) if counts else (0, 0)
            if whole:
                self._judged.labels(record.brand, record.version, measure, "yes" if part else "no").inc()

    def render(self, *, with_index: bool) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry) + (generate_latest(self.index_registry) if with_index else b"")

    def _observe_text(self, record: RequestRecord, first_token_seconds: float) -> None:
        self._first.labels(record.brand).observe(first_token_seconds)
        writing_seconds = record.total_seconds - first_token_seconds
        if record.num_answer_tokens > 1 and writing_seconds > 0 and record.outcome != "refused":
            self._rate.labels(record.brand).observe((record.num_answer_tokens - 1) / writing_seconds)

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(f"housevoice_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, labels: list[str], buckets: tuple[float, ...] = SECONDS_BUCKETS
    ) -> Histogram:
        return Histogram(f"housevoice_{name}", text, labels, registry=self.registry, buckets=buckets)


class _EngineState(Collector):
    def __init__(self, engine: Callable[[], EngineStatus]) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        status = self._engine()
        yield _gauge("engine_ready", "1 where the engine accepts requests", status.is_ready)
        yield _gauge("engine_running", "Sequences that decode now", status.num_running)
        yield _gauge("engine_queued", "Sequences that wait", status.num_queued)
        yield _gauge("engine_cells", "KV cells of the context", status.num_cells)
        yield _gauge("engine_cells_used", "KV cells in use, cached prefixes included", status.num_cells_used)
        yield _gauge("engine_adapters", "Adapters in memory", len(status.loaded_adapters))
        yield from fact_metrics(status.facts)
        yield from step_metrics(status)
        yield from mix_metrics(status.mixing)
        restarts = CounterMetricFamily("housevoice_engine_restarts", "Restarts after a crash")
        restarts.add_metric([], status.num_restarts)
        yield restarts


class _DriftState(Collector):
    """Of each version: shares at first and lately, and whether they are an alert."""

    def __init__(self, drift: Callable[[], Sequence[Drift]]) -> None:
        self._drift = drift

    def collect(self) -> Iterator[Metric]:
        labels = ["brand", "version", "measure"]
        alert = GaugeMetricFamily("housevoice_drift_alert", "1 where a version left its baseline", labels=labels)
        share = GaugeMetricFamily("housevoice_drift_share", "Of a version's answers", labels=[*labels, "period"])
        for drift in self._drift():
            for measure in Measure:
                values = [drift.name.partition("@")[0], drift.name, measure.value]
                alert.add_metric(values, measure in drift.alerts)
                for period, counts in (("baseline", drift.baseline), ("recent", drift.recent)):
                    if (found := counts.share(measure)) is not None:
                        share.add_metric([*values, period], found)
        yield alert
        yield share


class _IndexState(Collector):
    def __init__(self, index: Callable[[], IndexCounts | None]) -> None:
        self._index = index

    def collect(self) -> Iterator[Metric]:
        index = self._index()
        if index is not None:
            yield _gauge("index_documents", "Documents in the catalog", index.num_documents)
            yield _gauge("index_chunks", "Chunks in the catalog", index.num_chunks)
            yield _gauge("index_vectors", "Chunks in the vector index", index.num_vectors)
            yield _gauge("index_lexical", "Chunks in the lexical index", index.num_lexical)
            yield _gauge("index_generation", "Number of the live index generation", index.generation)
            yield _gauge("index_differs", "Settings that the live generation was not built with", len(index.differs))
            yield _gauge("index_share_found", "Share of sampled chunks that find themselves", index.share_found)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"housevoice_{name}", text, value)
