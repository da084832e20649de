"""Feedback from an answer to an example row: kept only where text is, about one's own answers, reviewed by admins."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.examples import parse_examples
from config.datadir import DataDirectory
from server.feedback import Fault, FeedbackStore, Rating, guess_fault
from tests.server.api.world import World

QUESTION = {"role": "user", "content": "How long?"}


@pytest.fixture
def keeping(world: World) -> World:
    storage = world.services.settings.storage.model_copy(update={"store_text": True})
    world.services.settings = world.services.settings.model_copy(update={"storage": storage})
    return world


async def answered(client: httpx.AsyncClient) -> str:
    response = await client.post("/v1/chat/completions", json={"model": "halden", "messages": [QUESTION]})
    assert response.status_code == 200, response.text
    return str(response.headers["x-request-id"])


async def give(client: httpx.AsyncClient, **body: object) -> httpx.Response:
    return await client.post("/v1/feedback", json=body)


async def test_an_accepted_edit_becomes_an_example(keeping: World, client: httpx.AsyncClient) -> None:
    request_id = await answered(client)
    given = await give(client, request_id=request_id, rating="down", edited_answer="It is 9 weeks.", comment="Wrong.")
    assert (given.status_code, given.json()["fault"]) == (201, "retrieval")
    (row,) = (await client.get("/api/feedback", params={"brand": "halden"})).json()["feedback"]
    assert (row["question"], row["state"], row["comment"]) == ("How long?", "new", "Wrong.")
    assert (await client.get("/api/feedback/examples", params={"brand": "halden"})).json() == {"rows": []}
    reviewed = await client.post(f"/api/feedback/{row['feedback_id']}/review", json={"state": "accepted"})
    assert reviewed.json()["state"] == "accepted"
    (example,) = (await client.get("/api/feedback/examples", params={"brand": "halden"})).json()["rows"]
    (parsed,) = parse_examples([json.dumps(example)], "").examples
    assert parsed.answer == "It is 9 weeks."
    assert (await client.get("/api/feedback", params={"state": "new"})).json() == {"feedback": []}
    metrics = (await client.get("/metrics")).text
    assert 'housevoice_feedback_total{brand="halden",fault="retrieval",rating="down"} 1.0' in metrics


async def test_nothing_is_kept_where_text_is_not(client: httpx.AsyncClient) -> None:
    response = await give(client, request_id=await answered(client), rating="up")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "feedback_off")
    assert (await client.get("/api/feedback")).json() == {"feedback": []}


async def test_an_answer_from_before_storing_was_turned_on_has_no_text_to_learn_from(
    world: World, client: httpx.AsyncClient
) -> None:
    """Regression: its edit became an example row without a question."""
    request_id = await answered(client)
    storage = world.services.settings.storage.model_copy(update={"store_text": True})
    world.services.settings = world.services.settings.model_copy(update={"storage": storage})
    response = await give(client, request_id=request_id, rating="down", edited_answer="Nine weeks.")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "feedback_off")
    assert (await client.get("/api/feedback")).json() == {"feedback": []}


async def test_the_page_learns_whether_feedback_is_kept(world: World, client: httpx.AsyncClient) -> None:
    assert (await client.post("/api/session")).json()["keeps_feedback"] is False
    storage = world.services.settings.storage.model_copy(update={"store_text": True})
    world.services.settings = world.services.settings.model_copy(update={"storage": storage})
    assert (await client.post("/api/session")).json()["keeps_feedback"] is True


async def test_only_about_ones_own_answers(keeping: World, client: httpx.AsyncClient) -> None:
    request_id = await answered(client)
    async with keeping.client(keeping.reader) as reader:
        other = await give(reader, request_id=request_id, rating="up")
        unknown = await give(reader, request_id="req_nowhere", rating="up")
        assert (other.status_code, unknown.status_code) == (404, 404)
        own = await answered(reader)
        assert (await give(reader, request_id=own, rating="up")).json()["fault"] == ""
        assert (await reader.get("/api/feedback")).status_code == 403
        assert (await reader.get("/api/feedback/examples", params={"brand": "halden"})).status_code == 403


async def test_what_makes_no_sense_is_named(keeping: World, client: httpx.AsyncClient) -> None:
    response = await give(client, request_id=await answered(client), rating="sideways")
    assert response.status_code == 400
    assert "rating" in response.json()["error"]["message"]
    assert (await client.post("/api/feedback/fb_none/review", json={"state": "accepted"})).status_code == 404


@pytest.mark.parametrize(
    ("rating", "edited", "record", "fault"),
    [
        ("down", "It takes 9 weeks.", {}, Fault.RETRIEVAL),
        ("down", "Nine it is: 7 weeks [2]!", {}, Fault.STYLE),
        ("up", "It takes 7 weeks, dear.", {}, Fault.STYLE),
        ("down", "", {"num_citations": 0}, Fault.RETRIEVAL),
        ("down", "", {"outcome": "refused"}, Fault.RETRIEVAL),
        ("down", "", {}, Fault.UNKNOWN),
        ("up", "", {}, Fault.NONE),
    ],
)
def test_faults_are_split(rating: str, edited: str, record: dict[str, Any], fault: Fault) -> None:
    known = {"answer": "It takes 7 weeks [1].", "outcome": "stop", "num_citations": 1, **record}
    assert guess_fault(known, Rating(rating), edited) is fault


def test_the_file_stays_what_it_is(tmp_path: Path) -> None:
    """Rows of other tables share the database."""
    data = DataDirectory(tmp_path / "data")
    data.create()
    for _ in range(2):
        store = FeedbackStore.open(data)
        assert store.latest() == []
        store.close()
