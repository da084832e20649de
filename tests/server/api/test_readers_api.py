"""S3 and S5 over HTTP and a real store: who is not in the group cannot read a document, nor tell that there is one."""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from config.settings import load_settings
from ingest.access.statements import ACCESS_FILE
from ingest.embed import HashEmbedder
from ingest.store import FactStore
from server.keys import NewKey
from server.retrieval import Retriever
from server.services import Facts
from tests.server.api.world import World, open_world, settings_in

SECRET_QUESTION = "director salary pounds"
METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Company:
    """ann is in hr, bob in no group. `secret` is a document for hr alone."""

    world: World
    store: FactStore
    folder: Path
    ann: NewKey
    bob: NewKey

    @property
    def secret(self) -> str:
        return next(item.document_id for item in self.store.documents() if item.path == "hr/salary.md")

    async def ask(self, key: NewKey, question: str = SECRET_QUESTION) -> str:
        """The whole answer, without the id that is new in every answer."""
        body = {"model": "halden", "messages": [{"role": "user", "content": question}]}
        async with self.world.client(key) as client:
            response = await client.post("/v1/chat/completions", json=body)
        assert response.status_code == 200
        number = response.headers["x-request-id"].removeprefix("req_")
        return response.text.replace(number, "")

    async def open(self, key: NewKey, document_id: str) -> int:
        async with self.world.client(key) as client:
            return (await client.get(f"/documents/{document_id}")).status_code


def write_secret(folder: Path) -> None:
    (folder / "hr").mkdir()
    (folder / "hr" / "salary.md").write_text("# Salary\n\nThe director salary is 190,000 pounds.\n")
    (folder / "hr" / ACCESS_FILE).write_text('groups = ["hr"]\n')


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "gate.md").write_text("# Gate\n\nThe gate opens at seven.\n")
    settings = settings_in(tmp_path)
    store = FactStore.open(settings.data, settings.ingest, HashEmbedder(), lambda text: len(text.split()))
    facts = Facts(store, Retriever(store, load_settings(environment={}).retrieval), HashEmbedder())
    async with open_world(tmp_path, facts=facts) as world:
        keys = world.services.keys
        ann, bob = keys.create("ann", groups=("hr",)), keys.create("bob")
        store.ingest(folder, "company")
        yield Company(world, store, folder, ann, bob)


def routes_with_ids(app: FastAPI) -> Iterator[tuple[str, str]]:
    """(method, path) of every route of the application's own schema that takes an id."""
    schema = get_openapi(title="", version="", routes=app.routes)
    for path, operations in schema["paths"].items():
        for method in METHODS:
            if method in operations and "{" in path:
                yield method.upper(), path


async def test_foreign_private_ids_are_answered_like_ids_that_do_not_exist(company: Company) -> None:
    write_secret(company.folder)
    company.store.ingest(company.folder, "company")
    async with company.world.client(company.ann) as client:
        body = {"model": "halden", "messages": [{"role": "user", "content": SECRET_QUESTION}]}
        answered = await client.post("/v1/chat/completions", json=body)
    request_id = answered.headers["x-request-id"]
    chunk_id = company.store.chunks_of(company.secret)[0].chunk_id
    routes = list(routes_with_ids(company.world.app))
    assert ("GET", "/documents/{document_id}") in routes
    assert ("GET", "/api/requests/{request_id}") in routes
    async with company.world.client(company.bob) as client:
        for method, path in routes:
            for private in (company.secret, request_id, chunk_id, company.ann.key.id, "hr"):
                response = await send(client, method, path, private)
                absent = await send(client, method, path, "absent")
                assert response.status_code in (403, 404), (method, path)
                assert response.status_code == absent.status_code, (method, path)
                assert response.text.replace(private, "absent") == absent.text, (method, path)


async def send(client: httpx.AsyncClient, method: str, path: str, value: str) -> httpx.Response:
    return await client.request(method, re.sub(r"\{[^}]+\}", value, path), json={})


async def test_the_group_decides_and_its_end_acts_on_the_next_request(company: Company) -> None:
    write_secret(company.folder)
    company.store.ingest(company.folder, "company")
    answer = await company.ask(company.ann)
    assert company.secret in answer
    assert await company.open(company.ann, company.secret) == 200
    assert await company.open(company.bob, company.secret) == 404
    company.world.services.keys.revoke_group("ann", "hr")
    assert await company.open(company.ann, company.secret) == 404
    assert await company.ask(company.ann) == await company.ask(company.bob)
    company.world.services.keys.grant("bob", ("hr",))
    assert await company.ask(company.bob) == answer


async def test_an_answer_does_not_tell_whether_hidden_documents_match(company: Company) -> None:
    before = [await company.ask(company.bob, question) for question in (SECRET_QUESTION, "gate opens seven")]
    async with company.world.client(company.bob) as client:
        metrics_before = (await client.get("/metrics")).text
        write_secret(company.folder)
        company.store.ingest(company.folder, "company")
        company.world.services.check_index()
        metrics = (await client.get("/metrics")).text
    after = [await company.ask(company.bob, question) for question in (SECRET_QUESTION, "gate opens seven")]
    assert after == before
    assert "housevoice_index" not in metrics_before + metrics
    async with company.world.client(company.world.admin) as client:
        assert "housevoice_index_documents 2.0" in (await client.get("/metrics")).text


async def test_a_session_reads_as_its_key_does_now(company: Company) -> None:
    write_secret(company.folder)
    company.store.ingest(company.folder, "company")
    async with company.world.client(company.ann) as client:
        await client.post("/api/session")
        del client.headers["Authorization"]
        assert (await client.get(f"/documents/{company.secret}")).status_code == 200
        company.world.services.keys.revoke_group("ann", "hr")
        assert (await client.get(f"/documents/{company.secret}")).status_code == 404


async def test_an_admin_searches_as_somebody(company: Company) -> None:
    write_secret(company.folder)
    company.store.ingest(company.folder, "company")
    async with company.world.client(company.world.admin) as client:
        for groups, paths in (([], ["hr/salary.md"]), (["hr", "it"], ["hr/salary.md"]), (["it"], []), ([""], [])):
            response = await client.get("/api/search", params={"q": SECRET_QUESTION, "as_group": groups})
            found = response.json()
            assert [source["document"]["path"] for source in found["sources"]][:1] == paths, groups
            assert ("salary" in response.text.replace(SECRET_QUESTION, "")) is bool(paths)
        listed = (await client.get("/api/documents")).json()["documents"]
    assert {item["path"]: item["access"] for item in listed} == {"gate.md": [], "hr/salary.md": [["hr"]]}


async def test_rules_over_the_admin_api(company: Company) -> None:
    gate = company.store.documents()[0].document_id
    async with company.world.client(company.world.admin) as client:
        assert await company.open(company.bob, gate) == 200
        answer = await client.put("/api/access/company", json={"groups": ["staff"]})
        assert answer.json()["rules"][0]["groups"] == ["staff"]
        assert await company.open(company.bob, gate) == 404
        assert (await client.post("/api/keys/bob/groups", json={"groups": ["staff"]})).json()["groups"] == ["staff"]
        assert await company.open(company.bob, gate) == 200
        assert (await client.delete("/api/keys/bob/groups/staff")).status_code == 200
        assert await company.open(company.bob, gate) == 404
        assert len((await client.delete("/api/access/company")).json()["cleared"]) == 1
        assert await company.open(company.bob, gate) == 200
        assert (await client.delete("/api/access/company")).status_code == 404
        both = await client.delete("/api/access/company", params={"folder": "/x", "stale": True})
        assert both.status_code == 400
        assert (await client.put("/api/access/company", json={"groups": []})).status_code == 400
