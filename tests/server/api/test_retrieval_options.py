"""`retrieval` in a chat request and the filters of /api/search: they reach the search, or are refused by name."""

from typing import Any

import httpx
import pytest

from ingest.filters import EVERYTHING, SearchFilter
from tests.server.api.world import World

QUESTION = {"role": "user", "content": "How long is the H5 covered?"}
JANUARY, JULY_NOON = 1_767_225_600, 1_782_907_200
"""2026-01-01 and 2026-07-01 12:00, UTC."""


async def ask(client: httpx.AsyncClient, **body: object) -> httpx.Response:
    return await client.post("/v1/chat/completions", json={"model": "halden", "messages": [QUESTION], **body})


async def test_filters_reach_the_search(world: World, client: httpx.AsyncClient) -> None:
    filters = {
        "path": ["hr", "*/2026-*.pdf"],
        "type": "pdf",
        "tag": "travel",
        "after": "2026-01-01",
        "before": "2026-07-01T14:00+02:00",
    }
    response = await ask(client, retrieval={"filters": filters})
    assert response.status_code == 200, response.text
    expected = SearchFilter(("hr", "*/2026-*.pdf"), ("pdf",), ("travel",), JANUARY, JULY_NOON)
    assert world.retriever.filters == [expected]


@pytest.mark.parametrize("body", [{}, {"retrieval": None}, {"retrieval": {}}, {"retrieval": {"filters": {}}}])
async def test_without_filters_everything_is_searched(
    world: World, client: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    assert (await ask(client, **body)).status_code == 200
    assert world.retriever.filters == [EVERYTHING]


@pytest.mark.parametrize(
    ("filters", "code", "param"),
    [
        ({"after": "yesterday"}, "invalid_value", "retrieval.filters.after"),
        ({"before": 2026}, "invalid_value", "retrieval.filters.before"),
        ({"path": ""}, "invalid_value", "retrieval.filters.path[0]"),
        ({"path": ["x"] * 21}, "invalid_value", "retrieval.filters.path"),
        ({"type": "p d f"}, "invalid_value", "retrieval.filters.type[0]"),
        ({"folder": "hr"}, "unknown_parameter", "retrieval.filters.folder"),
    ],
)
async def test_a_wrong_filter_is_named(
    world: World, client: httpx.AsyncClient, filters: dict[str, Any], code: str, param: str
) -> None:
    response = await ask(client, retrieval={"filters": filters})
    assert response.status_code == 400
    assert (response.json()["error"]["code"], response.json()["error"]["param"]) == (code, param)
    assert world.retriever.filters == []


async def test_search_takes_the_same_filters(world: World, client: httpx.AsyncClient) -> None:
    params: list[tuple[str, str | int | float | bool | None]] = [
        ("q", "warranty"),
        ("path", "hr"),
        ("path", "it"),
        ("after", "2026-01-01"),
    ]
    response = await client.get("/api/search", params=httpx.QueryParams(params))
    assert response.status_code == 200, response.text
    assert world.retriever.filters == [SearchFilter(paths=("hr", "it"), dated_from=JANUARY)]
    wrong = await client.get("/api/search", params={"q": "warranty", "before": "soon"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "before")


async def test_the_record_says_how_the_query_was_made(world: World, client: httpx.AsyncClient) -> None:
    turns = [QUESTION, {"role": "assistant", "content": "36"}, {"role": "user", "content": "And the H3?"}]
    answer = (await ask(client, messages=turns, retrieval={"filters": {"path": "hr"}})).json()
    row = (await client.get(f"/api/requests/{answer['housevoice']['request_id']}")).json()
    assert (row["query_method"], row["query"], row["search_filter"]) == ("joined", "", {})
