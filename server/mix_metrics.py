"""Whether brands share batches, as Prometheus metrics."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from server.engine.messages import MixStatus


def mix_metrics(mixing: MixStatus) -> Iterator[Metric]:
    """The reason is a label, since it has to be read; counters start again with the engine's process."""
    text = "1 where brands share batches, 0 where they take turns, with the reason"
    state = GaugeMetricFamily("housevoice_brands_mixed", text, labels=["reason"])
    state.add_metric([mixing.note], mixing.is_on)
    yield state
    text = "Processor time of a step of two voices when it was tried, in turns (apart) and in one batch (together)"
    tried = GaugeMetricFamily("housevoice_brands_step_seconds", text, labels=["way"])
    tried.add_metric(["apart"], mixing.apart_seconds)
    tried.add_metric(["together"], mixing.together_seconds)
    yield tried
    batches = CounterMetricFamily("housevoice_brands_mixed_batches", "Batches of several voices")
    batches.add_metric([], mixing.num_batches)
    yield batches
