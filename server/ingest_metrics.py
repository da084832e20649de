"""Prometheus metrics of ingest: the run that goes on, and what the ended ones did."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ingest.documents import IngestReport, Progress

SECONDS_BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400)


class IngestMetrics:
    """Files done and in all are those of the present stage, and stay as they were when a run ends."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._running = Gauge("housevoice_ingest_running", "1 while a run goes on", registry=registry)
        self._done = Gauge("housevoice_ingest_files_done", "Files done in this stage", ["stage"], registry=registry)
        self._total = Gauge("housevoice_ingest_files_total", "Files of this stage", ["stage"], registry=registry)
        self._runs = Counter("housevoice_ingest_runs", "Runs by how they ended", ["outcome"], registry=registry)
        self._documents = Counter("housevoice_ingest_documents", "Documents by change", ["change"], registry=registry)
        self._failures = Counter(
            "housevoice_ingest_failures", "Files refused, by reason", ["reason"], registry=registry
        )
        self._seconds = Histogram(
            "housevoice_ingest_seconds", "Length of a finished run", registry=registry, buckets=SECONDS_BUCKETS
        )

    def start(self) -> None:
        self._running.set(1)

    def advance(self, progress: Progress) -> None:
        self._done.labels(progress.stage).set(progress.num_done)
        self._total.labels(progress.stage).set(progress.num_total)

    def finish(self, report: IngestReport) -> None:
        self._runs.labels("finished").inc()
        self._seconds.observe(report.seconds)
        for change in ("added", "changed", "removed", "renamed"):
            self._documents.labels(change).inc(getattr(report, f"num_{change}"))
        for failure in report.failures:
            self._failures.labels(failure.reason).inc()

    def fail(self) -> None:
        self._runs.labels("failed").inc()

    def end(self) -> None:
        self._running.set(0)
