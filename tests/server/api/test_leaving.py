"""Clients that leave, and a server that is told to stop, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import httpx
import pytest
import uvicorn

from server.app import Drain, QuietServer
from tests.server.api.world import World, open_world

LONG_ANSWER = "word " * 2_000
MAX_TOKENS = 8_000


class Trickle(asyncio.Event):
    """A gate that lets one piece through now and then."""

    async def wait(self) -> Literal[True]:
        await asyncio.sleep(0.005)
        return True


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[QuietServer]:
    config = uvicorn.Config(world.app, port=0, log_level="error", lifespan="off", timeout_graceful_shutdown=2)
    server = QuietServer(config)
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield server
    finally:
        server.should_exit = True
        await task


def port_of(server: QuietServer) -> int:
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  what is waited for is a plain list of the fake engine
            await asyncio.sleep(0.01)


async def send(world: World, server: QuietServer, path: str, body: dict[str, object]) -> asyncio.StreamWriter:
    """A request over a bare socket, which can be closed at any time."""
    _, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {world.admin.text}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content)
    await writer.drain()
    return writer


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path, LONG_ANSWER, keep_alive_seconds=0.05) as opened:
        yield opened


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("is_silent", [True, False])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_a_client_that_leaves_stops_its_generation(
    world: World, path: str, stream: bool, is_silent: bool
) -> None:
    """Whether the engine is still silent (queued, reading the prompt) or the answer has begun."""
    body: dict[str, object] = {"model": "plain", "stream": stream, "n": 2, "max_tokens": MAX_TOKENS}
    body |= {"messages": [{"role": "user", "content": "hi"}]} if "chat" in path else {"prompt": "hi"}
    world.engine.gate = asyncio.Event() if is_silent else Trickle()
    async with serving(world) as server:
        writer = await send(world, server, path, body)
        await until(lambda: len(world.engine.requests) == 2)
        await asyncio.sleep(0.1)
        assert world.engine.cancelled == []
        writer.close()
        await until(lambda: len(world.engine.cancelled) == 2)


async def test_a_signal_lets_answers_finish_and_refuses_new_ones(world: World) -> None:
    world.engine.gate.clear()
    body = {"model": "plain", "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 9}
    async with serving(world) as server, httpx.AsyncClient(base_url=f"http://localhost:{port_of(server)}") as client:
        client.headers["Authorization"] = f"Bearer {world.admin.text}"
        running = asyncio.create_task(client.post("/v1/chat/completions", json=body))
        await until(lambda: len(world.engine.requests) == 1)
        Drain(server, world.services).on_signal()
        async with world.client(world.admin) as late:
            refused = await late.post("/v1/chat/completions", json=body)
        world.engine.gate.set()
        finished = await running
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
    assert '"finish_reason":"length"' in finished.text
    assert finished.text.endswith("data: [DONE]\n\n")
