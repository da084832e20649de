"""Sends requests and times what comes back, piece by piece."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.bench.sse import DONE, EventReader

Payload = Mapping[str, Any]
TIMEOUT = httpx.Timeout(None, connect=10)


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request that is answered by server-sent events."""

    url: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Piece:
    """What one event said; None where it did not say it. numbers: under which the model saw its sources, in order."""

    text: str = ""
    num_tokens: int | None = None
    num_prompt: int | None = None
    num_cached: int | None = None
    numbers: tuple[int, ...] | None = None
    error: str = ""


Read = Callable[[Payload], Piece]
"""How one system's events are read."""


@dataclass(slots=True)
class Reply:
    """An answer as it arrived. Times are seconds from the sending of the request."""

    text: str = ""
    times: list[float] = field(default_factory=list)
    seconds: float = 0.0
    num_tokens: int = 0
    num_prompt: int = 0
    num_cached: int = 0
    numbers: tuple[int, ...] = ()

    @property
    def first_seconds(self) -> float:
        """To the first byte of text; an answer without any counts as late as its end."""
        return self.times[0] if self.times else self.seconds

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]

    def add(self, piece: Piece, seconds: float) -> None:
        if piece.text:
            self.text += piece.text
            self.times.append(seconds)
        self.num_tokens = self.num_tokens if piece.num_tokens is None else piece.num_tokens
        self.num_prompt = self.num_prompt if piece.num_prompt is None else piece.num_prompt
        self.num_cached = self.num_cached if piece.num_cached is None else piece.num_cached
        self.numbers = self.numbers if piece.numbers is None else piece.numbers


def read_openai(payload: Payload) -> Piece:
    """Chat and text completions: text in `delta.content` or `text`, counts in `usage`, sources as housevoice tells."""
    if error := payload.get("error"):
        return Piece(error=str(error))
    choice = (payload.get("choices") or [{}])[0]
    text = (choice.get("delta") or {}).get("content") or choice.get("text") or ""
    if own := payload.get("housevoice"):
        return Piece(text, numbers=tuple(source["number"] for source in own["retrieved"]))
    usage = payload.get("usage")
    if not usage:
        return Piece(text)
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    return Piece(text, usage["completion_tokens"], usage["prompt_tokens"], cached)


def read_llama_server(payload: Payload) -> Piece:
    """llama-server's own /completion: text in `content`, counts in the last event."""
    if error := payload.get("error"):
        return Piece(error=str(error))
    text = payload.get("content") or ""
    if not payload.get("stop"):
        return Piece(text)
    timings = payload.get("timings") or {}
    return Piece(text, payload.get("tokens_predicted"), payload.get("tokens_evaluated"), timings.get("cache_n"))


async def send(client: httpx.AsyncClient, call: Call, read: Read) -> Reply:
    """The whole answer. Raises SystemExit with what the server said where it refused or broke off."""
    events, reply = EventReader(), Reply()
    begin = time.perf_counter()
    async with client.stream("POST", call.url, json=call.body, headers=call.headers) as response:
        if response.is_error:
            told = (await response.aread()).decode("utf-8", "replace")
            raise SystemExit(f"{call.url} answered {response.status_code}: {told[:500]}")
        async for received in response.aiter_raw():
            now = time.perf_counter() - begin
            for data in events.feed(received):
                _take(reply, read, data, now, call.url)
    reply.seconds = time.perf_counter() - begin
    reply.num_tokens = reply.num_tokens or len(reply.times)
    return reply


async def send_all(calls: Sequence[Call], read: Read) -> list[Reply]:
    """All at once, in the order given."""
    limits = httpx.Limits(max_connections=len(calls))
    async with httpx.AsyncClient(timeout=TIMEOUT, limits=limits, trust_env=False) as client:
        return list(await asyncio.gather(*(send(client, call, read) for call in calls)))


def _take(reply: Reply, read: Read, data: str, now: float, url: str) -> None:
    if data == DONE:
        return
    piece = read(json.loads(data))
    if piece.error:
        raise SystemExit(f"{url} broke off: {piece.error[:500]}")
    reply.add(piece, now)
