"""Prometheus metrics of fine-tuning, read from the database at each scrape, so that a restart loses no count."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adapters.jobs.job import ENDED, JobState

Counts = Callable[[], Mapping[JobState, int]]
WAITING = (JobState.QUEUED, JobState.PAUSED)


class JobMetrics(Collector):
    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        counts = self._counts()
        running = GaugeMetricFamily("housevoice_training_running", "1 while a fine-tuning job trains")
        running.add_metric([], counts[JobState.RUNNING])
        waiting = GaugeMetricFamily("housevoice_training_waiting", "Fine-tuning jobs that wait", labels=["state"])
        for state in WAITING:
            waiting.add_metric([state], counts[state])
        ended = CounterMetricFamily(
            "housevoice_training_jobs", "Fine-tuning jobs by how they ended", labels=["outcome"]
        )
        for state in ENDED:
            ended.add_metric([state], counts[state])
        yield from (running, waiting, ended)
