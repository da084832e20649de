"""/v1/files: uploaded with the official package, checked by content, and nobody else's."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.server.api.finetuning import jsonl, official_client, row, rows, upload
from tests.server.api.world import FIXED_TIME, World, open_world


@pytest.fixture
async def official(world: World) -> AsyncIterator[openai.AsyncOpenAI]:
    async with official_client(world, world.admin) as client:
        yield client


async def test_up_and_down_and_away(world: World, official: openai.AsyncOpenAI, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(rows())
    with path.open("rb") as file:
        made = await official.files.create(file=file, purpose="fine-tune")
    assert (made.filename, made.bytes, made.purpose, made.status) == (
        "rows.jsonl",
        len(rows()),
        "fine-tune",
        "processed",
    )
    assert (await official.files.retrieve(made.id)) == made
    assert (await official.files.wait_for_processing(made.id)).id == made.id
    assert (await official.files.content(made.id)).content == rows()
    assert [item.id async for item in official.files.list()] == [made.id]
    assert (await official.files.delete(made.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await official.files.retrieve(made.id)
    kept = world.services.settings.data
    assert list((kept.training / "files").iterdir()) == list(kept.incoming.iterdir()) == []


async def test_lists_in_parts(official: openai.AsyncOpenAI) -> None:
    made = [await upload(official, name=f"{number}.jsonl") for number in range(5)]
    assert [item.id async for item in official.files.list(limit=2)] == made[::-1]
    assert [item.id async for item in official.files.list(limit=2, order="asc")] == made
    part = await official.files.list(limit=2, after=made[1])
    assert ([item.id for item in part.data], part.has_more) == ([made[0]], False)
    assert [item.id async for item in official.files.list(purpose="batch")] == []
    with pytest.raises(openai.BadRequestError) as unknown:
        await official.files.list(after="file-none")
    assert unknown.value.param == "after"


GOOD = row("a?", "b.")
HALF = b'{"messages": [{"role": "user", "content": "\\ud800"}, {"role": "assistant", "content": "x"}]}\n'
DEEP = b'{"messages": ' + b"[" * 100_000 + b"\n"
BAD_FILES: list[tuple[bytes, str]] = [
    (b"", "no rows"),
    (b"\n \n", "no rows"),
    (jsonl([GOOD, {"prompt": "x", "completion": "y"}]), "line 2: messages"),
    (jsonl([GOOD]) + b"{broken\n", "line 2: not valid JSON"),
    (jsonl([row("a?", " ")]), "line 1: the answer is empty"),
    (jsonl([{"messages": [{"role": "tool", "content": "x"}]}]), "line 1: messages.0.role"),
    (jsonl([["a"]]), "line 1"),
    (b"\xff\xfe\x00", "line 1: not valid UTF-8"),
    (b"\x80\x04\x95pickle\n", "line 1: not valid UTF-8"),
    (b"GGUF\x03\x00\x00\x00", "line 1: not valid JSON"),
    (HALF, "line 1: an unpaired surrogate"),
    (DEEP, "line 1: not valid JSON"),
    (b'{"messages": ' + b"9" * 10_000 + b"}\n", "line 1: not valid JSON"),
    (b"x" * 250_001 + b"\n" + jsonl([GOOD]), "line 1: longer than"),
    (jsonl([["a"]] * 2_000), "and 980 more"),
]


@pytest.mark.parametrize(("data", "reason"), BAD_FILES, ids=lambda value: str(value)[:30])
async def test_a_bad_file_is_refused_with_line_and_reason(
    world: World, official: openai.AsyncOpenAI, data: bytes, reason: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await official.files.create(file=("rows.jsonl", data), purpose="fine-tune")
    assert (caught.value.param, caught.value.code) == ("file", "invalid_file_format")
    assert reason in caught.value.message
    assert [item.id async for item in official.files.list()] == []
    kept = world.services.settings.data
    assert not list(kept.incoming.iterdir())
    assert not (kept.training / "files").exists()


async def test_what_editors_and_other_tools_write_is_taken(official: openai.AsyncOpenAI) -> None:
    """A byte order mark, Windows line ends, no line end at the end, U+2028 inside a text, keys that are not known."""
    strange = json.dumps({**row("a\u2028b?", "c"), "id": 1}, ensure_ascii=False)
    data = b"\xef\xbb\xbf" + rows(2).replace(b"\n", b"\r\n") + strange.encode()
    assert await upload(official, data)


async def test_sizes_are_limited(tmp_path: Path) -> None:
    limits = {"max_rows": 10, "max_file_bytes": 5_000}
    async with open_world(tmp_path, training=limits) as world, official_client(world, world.admin) as client:
        with pytest.raises(openai.BadRequestError, match="max_rows"):
            await upload(client, rows(11))
        with pytest.raises(openai.BadRequestError, match="max_file_bytes"):
            await upload(client, rows(9) + b" " * 5_000)
        with pytest.raises(openai.APIStatusError, match=r"training\.max_file_bytes") as caught:
            await upload(client, rows(9) + b" " * 500_000)
        assert caught.value.status_code == 413
        assert await upload(client, rows(10))


async def test_a_file_may_be_larger_than_a_request(tmp_path: Path) -> None:
    async with open_world(tmp_path, max_body_bytes=1_000) as world, official_client(world, world.admin) as client:
        assert await upload(client, rows(60))


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({}, "purpose", "missing_required_parameter"),
        ({"purpose": "assistants"}, "purpose", "invalid_value"),
        ({"purpose": "fine-tune-results"}, "purpose", "invalid_value"),
        ({"purpose": "fine-tune", "colour": "red"}, "colour", "unknown_parameter"),
        ({"purpose": "fine-tune", "expires_after[anchor]": "tomorrow"}, "expires_after[anchor]", "invalid_value"),
        ({"purpose": "fine-tune", "expires_after[seconds]": "9999"}, "expires_after[anchor]", "invalid_value"),
        (
            {"purpose": "fine-tune", "expires_after[anchor]": "created_at", "expires_after[seconds]": "1"},
            "expires_after[seconds]",
            "invalid_value",
        ),
    ],
)
async def test_wrong_fields_are_named(client: httpx.AsyncClient, fields: dict[str, str], param: str, code: str) -> None:
    response = await client.post("/v1/files", files={"file": ("a.jsonl", rows(1))}, data=fields)
    assert response.status_code == 400
    assert (response.json()["error"]["param"], response.json()["error"]["code"]) == (param, code)


@pytest.mark.parametrize(
    ("query", "param"),
    [({"limit": 0}, "limit"), ({"limit": 10_001}, "limit"), ({"order": "up"}, "order"), ({"sort": "x"}, "sort")],
)
async def test_wrong_queries_are_named(client: httpx.AsyncClient, query: dict[str, Any], param: str) -> None:
    response = await client.get("/v1/files", params=query)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_a_file_expires(world: World, official: openai.AsyncOpenAI) -> None:
    made = await official.files.create(
        file=("a.jsonl", rows(1)), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert made.expires_at == FIXED_TIME + 3600
    files = world.app.state.training_jobs.files
    files._clock = lambda: FIXED_TIME + 3600
    with pytest.raises(openai.NotFoundError):
        await official.files.retrieve(made.id)
    await upload(official)
    assert [path.name for path in (world.services.settings.data.training / "files").iterdir()] != [made.id]
    assert len(list((world.services.settings.data.training / "files").iterdir())) == 1


async def test_the_name_is_a_name_only(official: openai.AsyncOpenAI) -> None:
    made = await official.files.create(file=("../../etc/\x1b[31mrows.jsonl", rows(1)), purpose="fine-tune")
    assert made.filename == "[31mrows.jsonl"
    response = await official.files.with_raw_response.content(made.id)
    assert response.headers["content-disposition"].startswith("attachment")
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_a_reader_uploads_nothing(world: World) -> None:
    """Refused before the body is read."""
    is_read = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal is_read
        is_read = True
        yield b"--x"

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    async with world.client(world.reader) as client:
        response = await client.post("/v1/files", content=body(), headers=headers)
        assert (response.status_code, is_read) == (403, False)
        assert (await client.get("/v1/files")).status_code == 403
