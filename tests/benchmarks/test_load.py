"""What each system's events mean, and the timing of a stream that a real socket carries."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from benchmarks.bench.load import Call, Piece, Reply, read_llama_server, read_openai, send

PIECES = ("Hel", "lo ", "you")
PAUSE_SECONDS = 0.05


def test_openai_events() -> None:
    assert read_openai({"choices": [{"delta": {"role": "assistant", "content": ""}}]}) == Piece()
    assert read_openai({"choices": [{"delta": {"content": "a"}}], "usage": None}) == Piece("a")
    assert read_openai({"choices": [{"text": "b"}]}) == Piece("b")
    usage = {"completion_tokens": 3, "prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}
    assert read_openai({"choices": [], "usage": usage}) == Piece("", 3, 9, 4)
    last = {"choices": [{"delta": {}}], "housevoice": {"retrieved": [{"number": 7}, {"number": 2}]}}
    assert read_openai(last) == Piece(numbers=(7, 2))
    assert read_openai({"error": {"message": "no"}}).error


def test_llama_server_events() -> None:
    assert read_llama_server({"content": "a", "stop": False}) == Piece("a")
    last = {"content": "", "stop": True, "tokens_predicted": 3, "tokens_evaluated": 9, "timings": {"cache_n": 4}}
    assert read_llama_server(last) == Piece("", 3, 9, 4)


def test_a_reply_without_text_counts_as_late_as_its_end() -> None:
    reply = Reply(seconds=2.0)
    reply.add(Piece(num_tokens=0), 1.0)
    assert reply.first_seconds == 2.0
    assert reply.gaps == []


async def test_times_are_those_at_which_text_arrived() -> None:
    parts = [b'data: {"choices":[{"text":"%s"}]}\n\n' % part.encode() for part in PIECES]
    async with answering(200, parts) as url, httpx.AsyncClient(trust_env=False) as client:
        reply = await send(client, Call(url, {}), read_openai)
    assert reply.text == "Hello you"
    assert len(reply.times) == reply.num_tokens == len(PIECES)
    assert 0 < reply.first_seconds < reply.times[-1] <= reply.seconds


@pytest.mark.parametrize(
    ("status", "parts", "told"),
    [(400, [b"this prompt is too long"], "too long"), (200, [b'data: {"error":{"message":"gone"}}\n\n'], "gone")],
)
async def test_a_refusal_is_told_and_never_counted_as_an_answer(status: int, parts: list[bytes], told: str) -> None:
    async with answering(status, parts) as url, httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(SystemExit, match=told):
            await send(client, Call(url, {}), read_openai)


@asynccontextmanager
async def answering(status: int, parts: list[bytes]) -> AsyncIterator[str]:
    """A server that sends the parts one after the other to whoever asks."""

    is_over = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d Said\r\nconnection: close\r\n\r\n" % status)
        with suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(PAUSE_SECONDS)
            writer.close()
            await writer.wait_closed()
        is_over.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}/"
        await is_over.wait()
