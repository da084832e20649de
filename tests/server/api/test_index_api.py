"""The index over the admin API: list, rebuild, roll back, verify, back up, while questions are answered."""

import asyncio
import json
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from config.datadir import DataDirectory
from config.settings import load_settings
from ingest.documents import Progress
from ingest.generations import IndexGenerations
from server.live_retriever import LiveRetriever
from server.retrieval import Retriever
from server.services import Facts
from tests.ingest.generations_world import Setup, write_documents
from tests.server.api.world import World

RETRIEVAL = load_settings(environment={}).retrieval
QUESTION = {"model": "halden", "messages": [{"role": "user", "content": "value3x1 item3"}]}


@dataclass(frozen=True, slots=True)
class Indexed:
    world: World
    generations: IndexGenerations


@pytest.fixture
async def indexed(world: World, tmp_path: Path) -> Indexed:
    """The world over a real index that was built with another embedder than the settings name now."""
    write_documents(tmp_path / "docs")
    setup = Setup(DataDirectory(tmp_path / "data"))
    with setup.opened() as generations:
        generations.ingest(tmp_path / "docs", "company")
    generations = replace(setup, embedder="hash:64").open()
    retriever = LiveRetriever(generations, lambda store: Retriever(store, RETRIEVAL))
    world.services.facts = Facts(generations, retriever, generations.shelf.configured, generations)
    return Indexed(world, generations)


async def lines(client: httpx.AsyncClient, path: str, /, **body: object) -> list[dict[str, Any]]:
    response = await client.post(f"/api/index/{path}", json=body)
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


async def test_rebuild_and_back_while_questions_are_answered(indexed: Indexed, client: httpx.AsyncClient) -> None:
    services = indexed.world.services
    listed = (await client.get("/api/index")).json()
    assert (listed["live"], listed["differences"]) == (1, ["embedder hash-256-256 -> hash-64-256"])
    assert (await client.get("/readyz")).json() == {
        "status": "ready", "index_generation": 1, "index_matches_settings": False
    }  # fmt: skip

    rebuilding = asyncio.create_task(lines(client, "rebuild"))
    statuses = [(await client.post("/v1/chat/completions", json=QUESTION)).status_code for _ in range(5)]
    told = await rebuilding
    assert statuses == [200] * 5
    assert {"rebuild", "verify"} <= {line["progress"]["stage"] for line in told[:-1]}
    assert (told[-1]["report"]["number"], told[-1]["report"]["refusal"]) == (2, "")
    assert (await client.get("/readyz")).json()["index_matches_settings"] is True
    assert "housevoice_index_generation 2.0" in (await client.get("/metrics")).text

    answered = await client.post("/v1/chat/completions", json=QUESTION)
    record = await asyncio.to_thread(_record_of, services, answered.headers["x-request-id"])
    assert record["generation"] == 2

    back = await lines(client, "rollback")
    assert (back[-1]["report"]["number"], indexed.generations.number) == (1, 1)
    assert (await lines(client, "prune", keep=0))[-1] == {"report": {"removed": [2]}}


def _record_of(services: Any, request_id: str) -> dict[str, Any]:
    services.records._writer.submit(lambda: None).result()
    record: dict[str, Any] = services.records.read(request_id)
    return record


async def test_verify_and_backup(indexed: Indexed, client: httpx.AsyncClient, tmp_path: Path) -> None:
    lost = indexed.generations.live.parts.catalog.sample_chunk_ids(2)
    indexed.generations.live.parts.vectors.delete(lost)
    report = (await lines(client, "verify"))[-1]["report"]
    assert (sorted(report["no_vector"]), report["is_good"]) == (sorted(lost), False)
    assert (await lines(client, "verify", repair=True))[-1]["report"]["is_good"]
    written = (await lines(client, "backup", path=str(tmp_path / "b.tar.gz")))[-1]["report"]
    assert (written["path"], written["generation"]) == (str(tmp_path / "b.tar.gz"), 1)
    assert written["num_bytes"] > 1_000
    again = (await lines(client, "backup", path=str(tmp_path / "b.tar.gz")))[-1]
    assert "exists already" in again["error"]["message"]


async def test_one_job_at_a_time_and_it_stops_with_the_server(indexed: Indexed, client: httpx.AsyncClient) -> None:
    jobs = indexed.world.app.state.index_jobs
    is_running, may_go_on = threading.Event(), threading.Event()

    def work(generations: IndexGenerations, on_progress: Any) -> dict[str, Any]:
        is_running.set()
        may_go_on.wait(60)
        on_progress(Progress("rebuild", 0, 1, ""))
        return {}

    events = jobs.start(work)
    await asyncio.to_thread(is_running.wait, 60)
    refused = await client.post("/api/index/rebuild", json={})
    assert (refused.status_code, "retry-after" in refused.headers) == (429, True)
    indexed.world.services.is_draining = True
    may_go_on.set()
    assert [event["error"]["code"] async for event in events] == ["not_ready"]
    await jobs.wait()


async def test_bad_questions_are_refused_before_anything_is_built(indexed: Indexed, client: httpx.AsyncClient) -> None:
    response = await client.post("/api/index/rebuild", json={"questions": "/nowhere.jsonl"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "questions")
    assert [card.number for card in indexed.generations.folder.cards()] == [1]
