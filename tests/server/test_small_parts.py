"""The small parts of the server: rate limit, sessions, merged streams, records."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from config.datadir import DataDirectory
from config.errors import NotFoundError, OverloadedError
from server.app import check_host, is_loopback
from server.engine.messages import Event, TextEvent
from server.keys import ApiKey
from server.merge import merge
from server.rates import RateLimiter
from server.records import RecordStore, RequestRecord
from server.sessions import SessionBook
from tests.server.api.world import settings_in


def test_a_minutes_worth_passes_and_no_more() -> None:
    now = [0.0]
    limiter = RateLimiter(2, lambda: now[0])
    limiter.take("ann")
    limiter.take("ann")
    with pytest.raises(OverloadedError) as caught:
        limiter.take("ann")
    assert caught.value.retry_after_seconds == 30
    limiter.take("bob")
    now[0] = 30.0
    limiter.take("ann")


def test_zero_means_no_limit() -> None:
    limiter = RateLimiter(0)
    for _ in range(1_000):
        limiter.take("ann")


def test_sessions_end_when_closed() -> None:
    book = SessionBook()
    token = book.open(ApiKey("id1", "ann", "reader", (), 0))
    assert book.key_id(token) == "id1"
    assert book.key_id(token + "x") is None
    book.close(token)
    assert book.key_id(token) is None


async def say(name: str, count: int, log: list[str]) -> AsyncGenerator[Event, None]:
    try:
        for number in range(count):
            await asyncio.sleep(0)
            yield TextEvent(name, str(number), 1)
    finally:
        log.append(name)


async def test_merged_streams_keep_their_own_order() -> None:
    log: list[str] = []
    seen: dict[int, list[str]] = {0: [], 1: []}
    async for item in merge([say("a", 3, log), say("b", 2, log)]):
        assert isinstance(item.event, TextEvent)
        seen[item.number].append(item.event.text)
    assert seen == {0: ["0", "1", "2"], 1: ["0", "1"]}


async def test_closing_the_merged_stream_closes_all() -> None:
    log: list[str] = []
    merged = merge([say("a", 1_000_000, log), say("b", 1_000_000, log)])
    await anext(merged)
    await merged.aclose()
    assert sorted(log) == ["a", "b"]


async def test_an_error_in_one_stream_is_raised_and_ends_the_others() -> None:
    async def fail() -> AsyncGenerator[Event, None]:
        texts: tuple[str, ...] = ()
        for text in texts:
            yield TextEvent("", text, 0)
        raise ValueError("boom")

    log: list[str] = []
    with pytest.raises(ValueError, match="boom"):
        async for _ in merge([say("a", 1_000_000, log), fail()]):
            pass
    assert log == ["a"]


def test_a_record_is_found_by_its_request_id(tmp_path: Path) -> None:
    records = RecordStore.open(DataDirectory(tmp_path))
    records.write(RequestRecord("req_1", "key", "halden", "halden", chunk_ids=["c1"])).result()
    assert records.read("req_1")["chunk_ids"] == ["c1"]
    with pytest.raises(NotFoundError, match="req_2"):
        records.read("req_2")
    records.close()


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("[::1]", True), ("localhost", True), ("0.0.0.0", False), ("box.lan", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_host_beyond_loopback_needs_a_key_for_others(tmp_path: Path) -> None:
    from config.errors import ConfigError

    settings = settings_in(tmp_path, host="0.0.0.0").server
    with pytest.raises(ConfigError, match="housevoice keys create"):
        check_host(settings, has_shared_key=False)
    check_host(settings, has_shared_key=True)
