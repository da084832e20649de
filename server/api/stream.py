"""Server-sent events, and noticing that a client has gone: what FastAPI's own streaming leaves open.

A stream that just ends looks like a short answer, so an error in mid-stream is sent as data. A long silence carries
comment lines, which also find out about a dead connection.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from config.errors import HousevoiceError
from server.failures import failure_of

T = TypeVar("T")
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
logger = logging.getLogger(__name__)


class ClientGoneError(Exception):
    """The client closed the connection; there is nobody to answer."""


def sse(payload: object) -> bytes:
    """One event. JSON has no raw line breaks, so one data line holds it."""
    return b"data: " + json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


class StreamedResponse(Response):
    """Sends what a generator yields and closes the generator as soon as the client leaves."""

    def __init__(self, parts: AsyncGenerator[bytes, None], media_type: str) -> None:
        super().__init__(media_type=media_type, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await run_until_gone(self._send_all(send), receive)

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._parts):
            async for part in self._parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def run_until_gone(work: Coroutine[Any, Any, T], receive: Receive) -> T | None:
    """The result of `work`, or None if the client left first; `work` is then cancelled and has ended on return."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_wait_until_gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def event_stream(
    chunks: AsyncGenerator[object, None], keep_alive_seconds: float, request_id: str
) -> AsyncGenerator[bytes, None]:
    """Chunks as SSE, with keep-alive comments between, an error as a last event, and [DONE] at the end."""
    try:
        async with aclosing(with_pauses(chunks, keep_alive_seconds)) as paced:
            async for chunk in paced:
                yield KEEP_ALIVE if chunk is None else sse(chunk)
    except Exception as error:
        if not isinstance(error, HousevoiceError):
            logger.error("Stream %s failed", request_id, exc_info=error)
        yield sse(failure_of(error).body)
    yield DONE


async def with_pauses(items: AsyncGenerator[T, None], pause_seconds: float) -> AsyncGenerator[T | None, None]:
    """The items, and None after each pause without one. Closing this closes `items`."""
    iterator: AsyncIterator[T] = items.__aiter__()
    waiting: asyncio.Future[T] | None = None
    try:
        while True:
            waiting = asyncio.ensure_future(anext(iterator))
            while not (await asyncio.wait({waiting}, timeout=pause_seconds))[0]:
                yield None
            try:
                item = waiting.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        if waiting is not None and not waiting.done():
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await items.aclose()


async def primed(items: AsyncGenerator[T, None], num_items: int, patience_seconds: float) -> AsyncGenerator[T, None]:
    """Wait for the first items, at most for a while, so that an early error can still be an HTTP status.

    Returns a generator over all items, those that were awaited included. Raises what `items` raises meanwhile.
    """
    paced = with_pauses(items, patience_seconds)
    first: list[T] = []
    try:
        async for item in paced:
            if item is None:
                break
            first.append(item)
            if len(first) == num_items:
                break
    except BaseException:
        await paced.aclose()
        raise
    return _chained(first, paced)


async def _chained(first: list[T], rest: AsyncGenerator[T | None, None]) -> AsyncGenerator[T, None]:
    async with aclosing(rest):
        for item in first:
            yield item
        async for later in rest:
            if later is not None:
                yield later
