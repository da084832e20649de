"""Who may do what: every route of the application, with no key, a reader's, an admin's, a revoked one."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from server.api.guard import PUBLIC_PATHS
from tests.server.api.world import World, open_world

METHODS = ("get", "post", "put", "patch", "delete")


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """(method, path) of everything in the application's own schema, with path parameters filled in."""
    schema = get_openapi(title="", version="", routes=app.routes)
    for path, operations in schema["paths"].items():
        for method in METHODS:
            if method in operations:
                yield method.upper(), re.sub(r"\{[^}]+\}", "warranty", path)


def test_the_matrix_sees_the_routes(world: World) -> None:
    routes = set(routes_of(world.app))
    assert {("POST", "/v1/chat/completions"), ("GET", "/documents/warranty"), ("GET", "/metrics")} <= routes
    assert len(routes) >= 20


async def test_every_route_but_the_public_ones_needs_a_key(world: World) -> None:
    async with world.client(None) as client:
        for method, path in [*routes_of(world.app), ("GET", "/openapi.json"), ("GET", "/anything"), ("GET", "/docs")]:
            response = await client.request(method, path)
            if path not in PUBLIC_PATHS:
                assert response.status_code == 401, (method, path)
                assert response.json()["error"]["code"] == "invalid_api_key"


async def test_a_wrong_or_revoked_key_is_no_key(world: World) -> None:
    async with world.client(world.reader) as client:
        assert (await client.get("/v1/models")).status_code == 200
        world.services.keys.revoke("reader")
        assert (await client.get("/v1/models")).status_code == 401
        client.headers["Authorization"] = "Bearer hv-wrong"
        assert (await client.get("/v1/models")).status_code == 401
        client.headers["Authorization"] = f"Basic {world.admin.text}"
        assert (await client.get("/v1/models")).status_code == 401


async def test_a_reader_reaches_nothing_under_the_admin_api(world: World) -> None:
    async with world.client(world.reader) as client:
        for method, path in routes_of(world.app):
            if path.startswith("/api/") and path != "/api/session":
                response = await client.request(method, path, json={})
                assert response.status_code == 403, (method, path)


async def test_a_reader_sees_only_their_brands(world: World) -> None:
    async with world.client(world.reader) as client:
        listed = (await client.get("/v1/models")).json()["data"]
        assert [model["id"] for model in listed] == ["halden"]
        for model in ("pipkin", "tiny-base"):
            body = {"model": model, "messages": [{"role": "user", "content": "x"}]}
            response = await client.post("/v1/chat/completions", json=body)
            assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
            assert (await client.get(f"/v1/models/{model}")).status_code == 404


async def test_a_reader_opens_only_documents_of_their_brands(world: World) -> None:
    async with world.client(world.reader) as client:
        assert (await client.get("/documents/warranty")).status_code == 200
        hidden = await client.get("/documents/menu")
        absent = await client.get("/documents/none")
    assert hidden.status_code == absent.status_code == 404
    assert hidden.json()["error"]["message"].replace("menu", "none") == absent.json()["error"]["message"]


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io:80", ""])
async def test_a_foreign_host_name_is_not_answered(world: World, host: str) -> None:
    async with world.client(world.admin) as client:
        response = await client.get("/healthz", headers={"Host": host})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_host")


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:9", "LOCALHOST"])
async def test_own_names_are_answered(world: World, host: str) -> None:
    async with world.client(None) as client:
        assert (await client.get("/healthz", headers={"Host": host})).status_code == 200


async def test_a_session_opens_documents_and_nothing_else(world: World) -> None:
    async with world.client(world.reader) as client:
        opened = await client.post("/api/session")
        cookie = opened.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=lax" in cookie.lower()
        assert world.reader.text not in cookie
        del client.headers["Authorization"]
        assert (await client.get("/documents/warranty")).status_code == 200
        assert (await client.get("/documents/menu")).status_code == 404
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.post("/api/keys", json={"name": "x"})).status_code == 401
        world.services.keys.revoke("reader")
        assert (await client.get("/documents/warranty")).status_code == 401


async def test_a_closed_session_opens_nothing(world: World) -> None:
    async with world.client(world.reader) as client:
        token = (await client.post("/api/session")).cookies["housevoice_session"]
        await client.delete("/api/session")
        del client.headers["Authorization"]
        client.cookies.set("housevoice_session", token)
        assert (await client.get("/documents/warranty")).status_code == 401


async def test_a_person_without_a_session_is_shown_the_way(world: World) -> None:
    async with world.client(None) as client:
        response = await client.get("/documents/warranty", headers={"Accept": "text/html"})
    assert response.status_code == 401
    assert '<a href="/">' in response.text


async def test_no_foreign_origin_is_allowed(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/models", headers={"Origin": "https://evil.example"})
    assert not any(name.startswith("access-control") for name in response.headers)


async def test_a_brand_key_made_for_the_base_may_read_everything(tmp_path: Path) -> None:
    async with open_world(tmp_path, reader_brands=("tiny-base",)) as world, world.client(world.reader) as client:
        assert (await client.get("/documents/menu")).status_code == 200
