"""Uploads, deletions and runs over the API, on a real index."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingest.embed import HashEmbedder
from ingest.store import FactStore
from server.retrieval import Retriever
from server.services import Facts
from tests.server.api.world import World, open_world

LEAVE = b"# Leave\n\nEverybody has twenty-six days a year.\n"


def with_index(world: World) -> FactStore:
    """A real one in place of the three fixed documents; and time to read a file even on a busy machine."""
    ingest = world.services.settings.ingest.model_copy(update={"parse_seconds": 600.0})
    world.services.settings = settings = world.services.settings.model_copy(update={"ingest": ingest})
    embedder = HashEmbedder()
    store = FactStore.open(settings.data, settings.ingest, embedder, lambda text: len(text.split()))
    world.services.facts = Facts(store, Retriever(store, settings.retrieval), embedder)
    return store


@pytest.fixture
def store(world: World) -> FactStore:
    return with_index(world)


async def upload(client: httpx.AsyncClient, name: str, data: bytes, **fields: str) -> httpx.Response:
    return await client.post("/api/documents", files={"file": (name, data)}, data=fields)


def found(store: FactStore, word: str) -> bool:
    return bool(store.search_lexical(word, ("company",), 5))


async def test_an_upload_is_indexed_when_the_answer_comes(
    world: World, client: httpx.AsyncClient, store: FactStore
) -> None:
    response = await upload(client, "../../Leave rules.md", LEAVE)
    assert response.status_code == 201, response.text
    document = response.json()["document"]
    assert (document["path"], document["title"]) == ("uploads/Leave rules.md", "Leave")
    assert found(store, "twenty")
    kept = world.services.settings.data.uploads / "company" / "uploads"
    assert [path.name for path in kept.iterdir()] == ["Leave rules.md"]
    assert not list(world.services.settings.data.incoming.iterdir())
    listed = (await client.get("/api/ingest/runs")).json()["runs"]
    assert [(row["run_id"], row["state"], row["summary"]) for row in listed] == [
        (response.json()["run"], "finished", "+1 ~0 -0, 0 unchanged")
    ]

    again = (await upload(client, "Leave rules.md", LEAVE.replace(b"twenty-six", b"thirty"))).json()
    assert again["document"]["document_id"] == document["document_id"]
    assert found(store, "thirty")
    assert not found(store, "twenty")
    assert store.check_parity(100).is_good


async def test_the_content_decides_what_a_file_is(client: httpx.AsyncClient, store: FactStore) -> None:
    page = b"<!doctype html><title>Hours</title><body><p>The canteen opens at noon.</p></body>"
    answer = (await upload(client, "hours.txt", page)).json()
    assert (answer["document"]["media_type"], answer["document"]["title"]) == ("text/html", "Hours")


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("a.pdf", b"%PDF-1.4 broken", "damaged"),
        ("empty.md", b"", "empty"),
        ("photo.md", b"\x89PNG\r\n\x1a\n" + bytes(50), "unsupported"),
        ("model.pkl", b"\x80\x04\x95" + bytes(range(256)) * 4, "unsupported"),
    ],
)
async def test_a_file_that_cannot_be_read_changes_nothing(
    world: World, client: httpx.AsyncClient, store: FactStore, name: str, data: bytes, code: str
) -> None:
    await upload(client, name, LEAVE) if name.endswith(".md") else None
    before = store.documents()
    response = await upload(client, name, data)
    assert (response.status_code, response.json()["error"]["code"]) == (400, code), response.text
    assert store.documents() == before
    assert found(store, "twenty") == name.endswith(".md")
    assert store.failures() == []
    assert not list(world.services.settings.data.incoming.iterdir())


async def test_deleting_removes_index_file_and_cached_prompts(
    world: World, client: httpx.AsyncClient, store: FactStore
) -> None:
    document_id = (await upload(client, "leave.md", LEAVE)).json()["document"]["document_id"]
    world.engine.dropped.clear()
    response = await client.delete(f"/api/documents/{document_id}")
    assert (response.status_code, response.json()["kept_at"]) == (200, "")
    assert response.json()["deleted"]["path"] == "uploads/leave.md"
    assert not found(store, "twenty")
    assert not list((world.services.settings.data.uploads / "company" / "uploads").iterdir())
    assert world.engine.dropped == [frozenset({document_id})]
    assert (await client.get(f"/documents/{document_id}")).status_code == 404
    assert (await client.delete(f"/api/documents/{document_id}")).status_code == 404
    assert store.check_parity(100).is_good


async def test_a_file_of_a_folder_is_only_forgotten(
    client: httpx.AsyncClient, store: FactStore, tmp_path: Path
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "leave.md").write_bytes(LEAVE)
    store.ingest(folder, "company")
    response = await client.delete(f"/api/documents/{store.documents()[0].document_id}")
    assert response.json()["kept_at"] == str(folder)
    assert (folder / "leave.md").exists()
    assert store.documents() == []


async def test_a_renamed_document_is_shown_under_its_old_link(
    client: httpx.AsyncClient, store: FactStore, tmp_path: Path
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "leave.md").write_bytes(LEAVE)
    store.ingest(folder, "company")
    old_id = store.documents()[0].document_id
    (folder / "leave.md").rename(folder / "holidays.md")
    store.ingest(folder, "company")
    assert "twenty-six days" in (await client.get(f"/documents/{old_id}")).text


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"content": b"plain"}, "file"),
        ({"data": {"knowledge_base": "company"}, "files": {"other": ("a.md", LEAVE)}}, "file"),
        ({"files": [("file", ("a.md", LEAVE)), ("file", ("b.md", LEAVE))]}, "file"),
        ({"data": {"knowledge_base": "../x"}, "files": {"file": ("a.md", LEAVE)}}, "knowledge_base"),
        ({"content": b"--x\r\ngarbage", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, "file"),
        ({"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, "file"),
    ],
)
async def test_a_form_that_is_none_says_so(
    world: World, client: httpx.AsyncClient, store: FactStore, options: dict[str, Any], param: str
) -> None:
    response = await client.post("/api/documents", **options)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text
    assert store.documents() == []
    assert not list(world.services.settings.data.incoming.iterdir())


async def test_a_file_may_be_larger_than_a_request_and_not_than_a_document(tmp_path: Path) -> None:
    async with open_world(tmp_path, max_body_bytes=50_000) as world, world.client(world.admin) as client:
        ingest = world.services.settings.ingest.model_copy(update={"max_file_bytes": 200_000})
        world.services.settings = world.services.settings.model_copy(update={"ingest": ingest})
        with_index(world)
        assert (await upload(client, "big.txt", b"words of a page. " * 6_000)).status_code == 201
        response = await upload(client, "huge.txt", b"words of a page. " * 60_000)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")
        assert "ingest.max_file_bytes" in response.json()["error"]["message"]
        assert (await client.post("/api/ingest", content=b" " * 60_000)).status_code == 413


async def test_a_reader_sends_nothing_to_the_disk(world: World, store: FactStore) -> None:
    """Refused before the body is read."""

    is_read = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal is_read
        is_read = True
        yield b"--x"

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    async with world.client(world.reader) as client:
        response = await client.post("/api/documents", content=body(), headers=headers)
    assert (response.status_code, is_read) == (403, False)
    assert not world.services.settings.data.incoming.exists()


async def test_uploads_take_turns(client: httpx.AsyncClient, store: FactStore) -> None:
    names = [f"{number}.txt" for number in range(5)]
    answers = await asyncio.gather(*(upload(client, name, f"text of {name}".encode()) for name in names))
    assert [answer.status_code for answer in answers] == [201] * 5
    assert sorted(document.path for document in store.documents()) == [f"uploads/{name}" for name in names]


def gauges(text: str) -> Iterator[str]:
    return (line for line in text.splitlines() if line.startswith("housevoice_ingest"))


async def test_runs_and_metrics(client: httpx.AsyncClient, store: FactStore, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "leave.md").write_bytes(LEAVE)
    (folder / "draft.md").write_bytes(LEAVE)
    (folder / "empty.txt").write_bytes(b"")
    body = {"path": str(folder), "knowledge_base": "company", "exclude": ["draft*"]}
    await client.post("/api/ingest", json=body)
    run = (await client.get("/api/ingest/runs", params={"limit": 1})).json()["runs"][0]
    assert (run["summary"], run["num_failures"], run["source"]) == ("+1 ~0 -0, 0 unchanged", 1, str(folder))
    details = (await client.get(f"/api/ingest/runs/{run['run_id']}")).json()
    assert [item["reason"] for item in details["report"]["failures"]] == ["empty"]
    assert (await client.get("/api/ingest/runs/none")).status_code == 404
    lines = set(gauges((await client.get("/metrics")).text))
    assert {
        "housevoice_ingest_running 0.0",
        'housevoice_ingest_files_done{stage="index"} 2.0',
        'housevoice_ingest_files_total{stage="index"} 2.0',
        'housevoice_ingest_runs_total{outcome="finished"} 1.0',
        'housevoice_ingest_documents_total{change="added"} 1.0',
        'housevoice_ingest_failures_total{reason="empty"} 1.0',
        "housevoice_ingest_seconds_count 1.0",
    } <= lines


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"path": "/", "urls": ["https://a.example"]},
        {"urls": ["https://a.example"], "sitemap": "https://a.example/s"},
    ],
)
async def test_an_order_names_one_source(client: httpx.AsyncClient, store: FactStore, body: dict[str, Any]) -> None:
    response = await client.post("/api/ingest", json={"knowledge_base": "company", **body})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "path")


async def test_a_page_inside_the_network_is_not_fetched_for_anybody(
    client: httpx.AsyncClient, store: FactStore
) -> None:
    body = {"urls": ["http://127.0.0.1:1/admin", "http://[64:ff9b::7f00:1]/"], "knowledge_base": "company"}
    await client.post("/api/ingest", json=body)
    run = (await client.get("/api/ingest/runs")).json()["runs"][0]
    details = (await client.get(f"/api/ingest/runs/{run['run_id']}")).json()
    assert {item["reason"] for item in details["report"]["failures"]} == {"forbidden_address"}
