"""Step times and drafts as Prometheus metrics."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from server.engine.messages import EngineStatus


def step_metrics(status: EngineStatus) -> Iterator[Metric]:
    """Counters start again with the engine's process."""
    steps = GaugeMetricFamily("housevoice_engine_step_seconds", "Of a step, as measured at a start", labels=["rows"])
    for rows, seconds in status.step_seconds:
        steps.add_metric([str(rows)], seconds)
    yield steps
    if status.num_threads:
        yield GaugeMetricFamily("housevoice_engine_threads", "That compute, fewer beside others", status.num_threads)
    yield GaugeMetricFamily("housevoice_drafts_on", "1 where tokens are guessed", status.drafts.is_on)
    tokens = CounterMetricFamily("housevoice_draft_tokens", "Guessed tokens by what became of them", labels=["verdict"])
    tokens.add_metric(["right"], status.drafts.num_accepted)
    tokens.add_metric(["wrong"], status.drafts.num_drafted - status.drafts.num_accepted)
    yield tokens
