"""Quarantine over the API, on a real index: out at once with its cached prompts, and for admins only."""

import httpx
import pytest

from ingest.store import FactStore
from tests.server.api.test_uploads_api import LEAVE, found, upload, with_index
from tests.server.api.world import World


@pytest.fixture
def store(world: World) -> FactStore:
    return with_index(world)


async def test_out_at_once_listed_and_in_again(world: World, client: httpx.AsyncClient, store: FactStore) -> None:
    await upload(client, "leave.md", LEAVE)
    body = {"knowledge_base": "company", "path": "uploads/leave.md", "note": "poisoned"}
    num_dropped = len(world.engine.dropped)
    assert (await client.post("/api/quarantine", json=body)).status_code == 201
    assert not found(store, "twenty")
    assert len(world.engine.dropped) == num_dropped + 1
    (row,) = (await client.get("/api/quarantine")).json()["quarantined"]
    assert (row["path"], row["note"]) == ("uploads/leave.md", "poisoned")
    again = await upload(client, "leave.md", LEAVE)
    assert again.status_code == 400
    assert "poisoned" in again.json()["error"]["message"]
    assert (await client.delete("/api/quarantine", params={"document": "uploads/leave.md"})).status_code == 200
    assert (await upload(client, "leave.md", LEAVE)).status_code == 201
    assert found(store, "twenty")


async def test_unknown_documents_and_readers_are_refused(world: World, client: httpx.AsyncClient) -> None:
    with_index(world)
    response = await client.post("/api/quarantine", json={"path": "nowhere.md"})
    assert response.status_code == 404
    assert "nowhere.md" in response.json()["error"]["message"]
    async with world.client(world.reader) as reader:
        assert (await reader.post("/api/quarantine", json={"path": "a.md"})).status_code == 403
        assert (await reader.get("/api/quarantine")).status_code == 403
