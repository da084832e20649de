"""The fact cache as Prometheus metrics."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from server.engine.messages import FactStatus


def fact_metrics(facts: FactStatus) -> Iterator[Metric]:
    """Counters start again with the engine's process."""
    yield GaugeMetricFamily(
        "housevoice_facts_in_blocks", "1 where sources are read as blocks", facts.layout == "blocks"
    )
    found = {
        "context": facts.num_context_hits,
        "memory": facts.num_memory_hits,
        "disk": facts.num_disk_hits,
        "computed": facts.num_misses,
    }
    blocks = CounterMetricFamily("housevoice_facts_blocks", "Fact blocks by where they were found", labels=["level"])
    for level, count in found.items():
        blocks.add_metric([level], count)
    yield blocks
    kept = GaugeMetricFamily("housevoice_facts_bytes", "Size of the computed sources that are kept", labels=["level"])
    kept.add_metric(["memory"], facts.num_memory_bytes)
    kept.add_metric(["disk"], facts.num_disk_bytes)
    yield kept
    yield _counter("saved_tokens", "Prompt tokens that did not have to be computed again", facts.num_saved_tokens)
    yield _counter("restored_tokens", "Those of them that came from memory or disk", facts.num_restored_tokens)
    yield _counter("damaged", "Kept blocks that could not be used and were dropped", facts.num_damaged)


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    counter = CounterMetricFamily(f"housevoice_facts_{name}", text)
    counter.add_metric([], value)
    return counter
