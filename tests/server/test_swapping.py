"""R6 through a real server: whichever version answers, the answer is that version's own, while versions are swapped.

A reference is the first answer of an engine that has just started, so nothing of it can come from a cache.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from tests.server.tiny_base import write_tiny_base
from tests.server.tiny_server import BRANDS, VERSIONS, TinyServer

NEAR = 0.1
"""Kernels round differently for other numbers of rows: where the two best lie this close, either may win."""

QUESTION = "tell me of the little dog that went to sea in a boat of paper and came home late"
NUM_STREAMS = 16
SWAPS = (
    ("activate", {"version": "alder@2"}),
    ("activate", {"version": "birch@2"}),
    ("rollback", {"brand": "alder"}),
    ("canary", {"version": "alder@2", "share": 0.5}),
    ("rollback", {"brand": "birch"}),
    ("activate", {"version": "alder@2"}),
    ("activate", {"brand": "birch"}),
    ("activate", {"version": "alder@1"}),
    ("activate", {"version": "birch@1"}),
    ("rollback", {"brand": "birch"}),
)


@dataclass(frozen=True, slots=True)
class Token:
    """lead: of the best over the second best, in logits."""

    text: str
    lead: float


@dataclass(slots=True)
class Tally:
    """What the streams have seen so far."""

    num_answers: int = 0
    num_partings: int = 0
    versions: set[str] = field(default_factory=set)
    more: asyncio.Event = field(default_factory=asyncio.Event)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    server = TinyServer(tmp_path_factory.mktemp("swapping"))
    server.prepare()
    try:
        server.start()
        server.register_versions()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def references(server: TinyServer) -> dict[str, list[Token]]:
    """By version; "tiny" is the base."""
    found = {}
    for model in ("tiny", *VERSIONS):
        server.restart_engine()
        with httpx.Client(base_url=server.url, headers=server.headers, timeout=60) as client:
            answer = client.post("/v1/chat/completions", json=body_of(model)).json()
        found[model] = tokens_of(answer["choices"][0]["logprobs"]["content"])
    assert len({tuple(token.text for token in answer) for answer in found.values()}) == len(found), "adapters differ"
    return found | {f"{brand}@0": found["tiny"] for brand in BRANDS}


def body_of(model: str, **more: object) -> dict[str, object]:
    message = {"role": "user", "content": QUESTION}
    sampling = {"temperature": 0, "repetition_penalty": 1.0, "max_tokens": 12, "logprobs": True, "top_logprobs": 2}
    return {"model": model, "messages": [message], **sampling, **more}


def tokens_of(content: list[dict[str, Any]]) -> list[Token]:
    return [Token(c["token"], c["top_logprobs"][0]["logprob"] - c["top_logprobs"][1]["logprob"]) for c in content]


async def ask(client: httpx.AsyncClient, model: str, user: str) -> tuple[str, list[Token]]:
    """Streamed: the version that answered, and its tokens. Fails on any error, in the stream too."""
    tokens: list[Token] = []
    told, reason = None, None
    async with client.stream("POST", "/v1/chat/completions", json=body_of(model, stream=True, user=user)) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            event = json.loads(line.removeprefix("data: "))
            assert "error" not in event, event
            choice = event["choices"][0]
            tokens += tokens_of((choice["logprobs"] or {}).get("content") or [])
            reason = choice["finish_reason"] or reason
            told = event.get("housevoice", {}).get("adapter") or told
    version = response.headers.get("x-housevoice-version", "tiny")
    assert (told or "none", reason) == (version if version in VERSIONS else "none", "length")
    return version, tokens


def is_equal(reference: list[Token], answer: list[Token], tally: Tally) -> bool:
    """As acceptance has it: token-identical, or parting where the reference's two best lie closer than NEAR."""
    for expected, found in zip(reference, answer, strict=True):
        if expected.text != found.text:
            tally.num_partings += 1
            return expected.lead < NEAR
    return True


@asynccontextmanager
async def streams(server: TinyServer, references: dict[str, list[Token]], tally: Tally) -> AsyncIterator[None]:
    """NUM_STREAMS that ask without end, each compared as it ends; the first that is wrong fails the block."""
    limits = httpx.Limits(max_connections=NUM_STREAMS)
    client = httpx.AsyncClient(base_url=server.url, headers=server.headers, timeout=60, limits=limits)
    is_over = False

    async def stream(number: int) -> None:
        chance = np.random.default_rng(number)
        models = [*BRANDS, *BRANDS, "tiny", *VERSIONS]
        while not is_over:
            version, answer = await ask(client, str(chance.choice(models)), f"user {chance.integers(50)}")
            assert is_equal(references[version], answer, tally), (version, references[version], answer)
            tally.num_answers += 1
            tally.versions.add(version)
            tally.more.set()

    async with client, asyncio.TaskGroup() as group:
        for number in range(NUM_STREAMS):
            group.create_task(stream(number))
        try:
            yield
        finally:
            is_over = True


async def swap(server: TinyServer, tally: Tally, num_swaps: int, after_answers: int) -> None:
    """One after the other, each once so many answers have ended since the one before."""
    async with httpx.AsyncClient(base_url=server.url, headers=server.headers, timeout=60) as client:
        for number in range(num_swaps):
            target = tally.num_answers + after_answers
            while tally.num_answers < target:
                tally.more.clear()
                await tally.more.wait()
            action, body = SWAPS[number % len(SWAPS)]
            response = await client.post(f"/api/adapters/{action}", json=body)
            assert response.status_code == 200, response.text


def memory_bytes(server: TinyServer) -> dict[str, int]:
    assert server.process is not None
    pids = {"server": server.process.pid, "engine": server.status()["engine"]["pid"]}
    return {name: psutil.Process(pid).memory_info().rss for name, pid in pids.items()}


async def test_interleaved_requests_equal_their_cold_references(
    server: TinyServer, references: dict[str, list[Token]]
) -> None:
    """200 requests over two brands and the base with the same prompt, eight at a time."""
    tally, order = Tally(), np.random.default_rng(5).choice(["tiny", *VERSIONS], 200)
    async with httpx.AsyncClient(base_url=server.url, headers=server.headers, timeout=60) as client:
        for begin in range(0, len(order), 8):
            for version, answer in await asyncio.gather(*[ask(client, m, "") for m in order[begin : begin + 8]]):
                assert is_equal(references[version], answer, tally), (version, references[version], answer)
                tally.versions.add(version)
    assert tally.versions == {"tiny", *VERSIONS}


async def test_swapping_under_streams_disturbs_nobody(server: TinyServer, references: dict[str, list[Token]]) -> None:
    """The short form: each kind of swap four times."""
    before, tally = server.status()["engine"], Tally()
    async with streams(server, references, tally):
        await swap(server, tally, 4 * len(SWAPS), after_answers=2)
    after = server.status()["engine"]
    assert (after["pid"], after["num_restarts"]) == (before["pid"], before["num_restarts"])
    assert tally.versions >= {"tiny", *VERSIONS}


async def test_a_killed_server_comes_back_with_a_whole_active_version(
    server: TinyServer, references: dict[str, list[Token]]
) -> None:
    """kill -9 in the middle of activations and promotions."""

    async def swap_until_killed(number: int) -> None:
        for step in range(number, 10_000):
            action, body = SWAPS[step % len(SWAPS)]
            await client.post(f"/api/adapters/{action}", json=body)

    async with httpx.AsyncClient(base_url=server.url, headers=server.headers, timeout=60) as client:
        swapping = [asyncio.create_task(swap_until_killed(number)) for number in range(4)]
        await asyncio.sleep(0.5)
        await asyncio.to_thread(server.kill)
        ended = await asyncio.gather(*swapping, return_exceptions=True)
    assert all(isinstance(error, httpx.TransportError) for error in ended)
    await asyncio.to_thread(server.start)
    async with httpx.AsyncClient(base_url=server.url, headers=server.headers, timeout=60) as client:
        rows = (await client.get("/api/adapters")).json()["adapters"]
        assert [row["name"] for row in rows] == list(VERSIONS)
        for brand in BRANDS:
            active = [row["name"] for row in rows if row["brand"] == brand and row["is_active"]] or [f"{brand}@0"]
            await client.request("DELETE", f"/api/adapters/canary/{brand}")
            version, answer = await ask(client, brand, "")
            assert [version] == active
            assert is_equal(references[version], answer, Tally())


async def test_a_start_with_another_base_refuses_the_brands_alone(tmp_path: Path) -> None:
    """The base answers, the brands say which command trains them again, and so does the server's start."""
    server = TinyServer(tmp_path)
    server.prepare()
    try:
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(server.register_versions)
        server.kill()
        write_tiny_base(server.base, seed=1)
        await asyncio.to_thread(server.start)
        async with httpx.AsyncClient(base_url=server.url, headers=server.headers, timeout=60) as client:
            assert (await client.post("/v1/chat/completions", json=body_of("tiny"))).status_code == 200
            refused = await client.post("/v1/chat/completions", json=body_of("alder"))
            again = await client.post("/api/adapters/activate", json={"version": "alder@2"})
    finally:
        server.kill()
    assert (refused.status_code, again.status_code) == (500, 400)
    for response in (refused, again):
        assert "another base" in response.json()["error"]["message"]
        assert "housevoice adapter train alder EXAMPLES.jsonl" in response.json()["error"]["message"]
    log = (server.folder / "server.log").read_text(encoding="utf-8")
    assert "refused: The adapter alder@1 was trained for another base" in " ".join(log.split())


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_a_thousand_swaps_under_sixteen_streams(server: TinyServer, references: dict[str, list[Token]]) -> None:
    """R6 at full length: no failed request, every answer its own version's, memory flat."""
    before, tally = server.status()["engine"], Tally()
    async with streams(server, references, tally):
        await swap(server, tally, 200, after_answers=2)
        settled = memory_bytes(server)
        await swap(server, tally, 1_000, after_answers=2)
        ended = memory_bytes(server)
    after = server.status()["engine"]
    figures = f"{tally.num_answers} answers, {tally.num_partings} near partings, memory {settled} to {ended}"
    (server.folder / "figures.txt").write_text(figures, encoding="utf-8")
    assert (after["pid"], after["num_restarts"]) == (before["pid"], before["num_restarts"])
    for name, num_bytes in settled.items():
        assert ended[name] < 1.05 * num_bytes, figures
