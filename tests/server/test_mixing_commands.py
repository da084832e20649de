"""What /metrics and doctor say of brands that share batches."""

from dataclasses import asdict

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from server.cli.doctor import Verdict, mixing_finding
from server.engine.messages import MixStatus
from server.mix_metrics import mix_metrics

ON = MixStatus(is_on=True, apart_seconds=0.04, together_seconds=0.025, num_batches=7)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (ON, "share batches: a step of two voices took 25 ms of processor time together, 40 ms in turns; 7 so far"),
        (MixStatus(note="ggml_init gives no memory"), "take turns: ggml_init gives no memory"),
    ],
)
def test_doctor_says_whether_brands_share_batches(found: MixStatus, text: str) -> None:
    finding = mixing_finding(asdict(found))
    assert (finding.verdict, finding.text) == (Verdict.FINE, text)


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (ON, 'housevoice_brands_mixed{reason=""} 1.0'),
        (ON, "housevoice_brands_mixed_batches_total 7.0"),
        (ON, 'housevoice_brands_step_seconds{way="together"} 0.025'),
        (MixStatus(note="too slow"), 'housevoice_brands_mixed{reason="too slow"} 0.0'),
    ],
)
def test_metrics_say_whether_brands_share_batches(found: MixStatus, line: str) -> None:
    class State(Collector):
        collect = staticmethod(lambda: mix_metrics(found))

    registry = CollectorRegistry()
    registry.register(State())
    assert line in generate_latest(registry).decode().splitlines()
