"""From an answer to its version's counts: in the metrics, over the admin API, and without storing text."""

from pathlib import Path

import httpx
import pytest

from server.records import RequestRecord
from tests.server.api.world import World, open_world

ALERTS = "housevoice_drift_alert"


async def ask(client: httpx.AsyncClient, question: str, model: str = "halden") -> None:
    body = {"model": model, "messages": [{"role": "user", "content": question}]}
    assert (await client.post("/v1/chat/completions", json=body)).status_code == 200


async def test_each_answer_counts_for_the_version_that_gave_it(world: World, client: httpx.AsyncClient) -> None:
    await ask(client, "How long?")
    await ask(client, "How long is it?", "halden@0")
    await ask(client, "An unknown thing?")
    await ask(client, "How long?", "tiny-base")
    world.services.drift.count(counted_record()).result(timeout=30)  # type: ignore[union-attr]
    found = (await client.get("/api/adapters/drift", params={"brand": "halden"})).json()
    (version,) = found["versions"]
    assert version["name"] == "halden@0"
    assert version["baseline"] == {"answers": 3, "form": None, "refusal": pytest.approx(1 / 3), "citation": 1.0}
    assert (version["alerts"], [day["answers"] for day in found["days"]]) == ({}, [3])
    metrics = (await client.get("/metrics")).text
    assert 'housevoice_voice_answers_total{brand="halden",outcome="stop",version="halden@0"} 2.0' in metrics
    assert 'measure="refusal",verdict="yes",version="halden@0"} 1.0' in metrics
    assert 'measure="citation",verdict="yes",version="halden@0"} 2.0' in metrics
    assert f'{ALERTS}{{brand="halden",measure="form",version="halden@0"}} 0.0' in metrics


def counted_record() -> RequestRecord:
    """The last in the writer's line: once it is counted, so are those before."""
    return RequestRecord("last", "k", "plain", "plain", is_refusal=False)


async def test_an_alert_shows_in_the_metrics_and_over_the_api(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world, world.client(world.admin) as client:
        drift = world.services.drift
        drift._settings = drift._settings.model_copy(update={"baseline_answers": 3, "min_answers": 2})
        for _ in range(4):
            await ask(client, "How long?")
        for _ in range(6):
            await ask(client, "An unknown thing?")
        drift.count(counted_record()).result(timeout=30)  # type: ignore[union-attr]
        (version, _) = (await client.get("/api/adapters/drift")).json()["versions"]
        assert list(version["alerts"]) == ["refusal"]
        assert "refusals went from 0% (its first 3 answers) to" in version["alerts"]["refusal"]
        metrics = (await client.get("/metrics")).text
        assert f'{ALERTS}{{brand="halden",measure="refusal",version="halden@0"}} 1.0' in metrics
