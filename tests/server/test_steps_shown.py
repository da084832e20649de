"""Step times and drafts as /metrics and doctor show them."""

from dataclasses import asdict

import pytest
from prometheus_client.core import Metric

from server.cli.doctor import Verdict, steps_finding
from server.engine.messages import DraftStatus, EngineStatus
from server.step_metrics import step_metrics

TIMES = ((1, 0.0171), (2, 0.023), (8, 0.05))


def samples(metrics: list[Metric]) -> dict[str, float]:
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value for metric in metrics for sample in metric.samples
    }


def test_metrics_tell_what_rows_cost_and_what_became_of_guesses() -> None:
    drafts = DraftStatus(is_on=True, num_drafted=10, num_accepted=7)
    found = samples(list(step_metrics(EngineStatus(is_ready=True, drafts=drafts, step_seconds=TIMES))))
    assert found["housevoice_engine_step_seconds[('rows', '8')]"] == 0.05
    assert found["housevoice_draft_tokens_total[('verdict', 'right')]"] == 7
    assert found["housevoice_draft_tokens_total[('verdict', 'wrong')]"] == 3
    assert found["housevoice_drafts_on[]"] == 1


@pytest.mark.parametrize(
    ("times", "drafts", "text"),
    [
        (
            TIMES,
            DraftStatus(is_on=True, num_drafted=10, num_accepted=7),
            "by rows 1: 17 ms, 2: 23 ms, 8: 50 ms; 7 of 10",
        ),
        (TIMES, DraftStatus(note='engine.drafts = "off"'), 'nothing is drafted: engine.drafts = "off"'),
        (
            (),
            DraftStatus(note="step times were not measured"),
            "nothing is drafted: step times were not",
        ),
    ],
)
def test_doctor_says_what_is_drafted_and_why_not(
    times: tuple[tuple[int, float], ...], drafts: DraftStatus, text: str
) -> None:
    finding = steps_finding(times, asdict(drafts))
    assert finding.verdict is Verdict.FINE
    assert text in finding.text
