"""Sources read as blocks, through the HTTP API and a real engine process: what is cached changes the time alone."""

import asyncio
import itertools
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from config.settings import load_settings
from server.application import create_app
from server.engine.client import EngineClient
from server.engine.messages import Event, GenerateRequest
from server.engine.storage import EngineStorage
from server.records import RequestRecord
from server.services import Services
from server.warming import Warmer
from tests.server.api.world import BASE_URL, CHUNKS, SOURCES, World, open_world
from tests.server.engine.conftest import STORIES
from tests.server.engine.lora_files import write_lora

pytestmark = pytest.mark.skipif(not STORIES.exists(), reason="the tiny model is test material of its own")


NUM_LOOKS = 100
BRAND_WORDS = 1
"""What a brand says of itself is a block too."""
_names = map(str, itertools.count())


class Company:
    """A world whose engine is a process with a tiny model. Its 258 lowest tokens serve as the world's bytes."""

    def __init__(self, world: World, client: httpx.AsyncClient, services: Services) -> None:
        self.world, self.client, self.services = world, client, services
        self.engine = services.engine

    async def ask(self, *ranks: int, question: str = "How long?", model: str = "halden") -> dict[str, Any]:
        """With these sources, the best first."""
        self.world.retriever.sources = tuple(
            replace(SOURCES[rank], number=number) for number, rank in enumerate(ranks, 1)
        )
        body = {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": 12}
        answer = (await self.client.post("/v1/chat/completions", json={**body, "temperature": 0})).raise_for_status()
        return dict(answer.json())

    def activate(self, path: Path, seed: int, **card: object) -> None:
        """A new version of halden, which answers from now on."""
        registry = self.world.services.registry
        file = write_lora(path / f"{seed}.gguf", STORIES, seed=seed).path
        registry.activate("halden", registry.register("halden", file, card).version)

    async def read(self, model: str = "halden") -> tuple[int, list[str]]:
        """In how many blocks the engine was asked to read two sources, and the numbers that they bore."""
        asked: list[GenerateRequest] = []
        generate = self.engine.generate

        def noted(request: GenerateRequest) -> AsyncGenerator[Event, None]:
            asked.append(request)
            return generate(request)

        self.engine.generate = noted  # type: ignore[method-assign]
        await self.ask(0, 1, model=model)
        self.engine.generate = generate  # type: ignore[method-assign]
        text = bytes(token for token in asked[0].tokens if token < 256).decode()
        return max(0, len(asked[0].fact_bounds) - 1), re.findall(r"^\[(\d)\] \w", text, re.MULTILINE)

    async def until(self, line: str, value: float) -> None:
        """The engine tells its state a little after its last event, and later on a busy machine."""
        for _ in range(NUM_LOOKS):
            if await self.metric(line) == value:
                return
            await asyncio.sleep(0.05)
        assert await self.metric(line) == value

    async def metric(self, line: str) -> float:
        text = (await self.client.get("/metrics")).text
        (found,) = [value for value in text.splitlines() if value.startswith(f"housevoice_{line} ")]
        return float(found.rpartition(" ")[2])


@asynccontextmanager
async def open_company(folder: Path, **changes: object) -> AsyncIterator[Company]:
    settings = load_settings(environment={}).engine.model_copy(
        update={"context_tokens": 4_096, "max_sequences": 16, "max_running": 4, "threads": 1, **changes}
    )
    engine = EngineClient(STORIES, settings, EngineStorage(folder / "factcache", "ba5e"))
    rest = folder / next(_names)
    rest.mkdir(parents=True)
    async with open_world(rest) as world:
        await engine.start()
        whole = world.services.settings.model_copy(update={"engine": settings})
        services = replace(world.services, engine=engine, settings=whole)
        transport = httpx.ASGITransport(create_app(services))
        headers = {"Authorization": f"Bearer {world.admin.text}"}
        try:
            async with httpx.AsyncClient(transport=transport, base_url=BASE_URL, headers=headers) as client:
                yield Company(world, client, services)
        finally:
            await engine.stop()


def content(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


def cached(answer: dict[str, Any]) -> int:
    return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])


async def test_warm_sources_in_another_order_give_the_cold_answer(tmp_path: Path) -> None:
    async with open_company(tmp_path, fact_layout="blocks") as company:
        cold = await company.ask(0, 1)
        warm = await company.ask(1, 0)
        assert content(warm) == content(cold) != ""
        assert warm["usage"]["prompt_tokens"] == cold["usage"]["prompt_tokens"]
        assert cached(cold) == 0 < cached(warm) < warm["usage"]["prompt_tokens"]
        await company.until('facts_blocks_total{level="computed"}', 2 + BRAND_WORDS)
        await company.until('facts_blocks_total{level="context"}', 2 + BRAND_WORDS)
        await company.until("facts_in_blocks", 1)
        await company.engine.drop_prefixes()
        again = await company.ask(1, 0)
        assert (content(again), cached(again)) == (content(cold), 0)


async def test_sources_survive_a_restart_and_leave_the_disk_when_documents_change(tmp_path: Path) -> None:
    async with open_company(tmp_path, fact_layout="blocks") as company:
        cold = await company.ask(0, 1)
    files = sorted((tmp_path / "factcache").iterdir())
    assert len(files) == 2 + BRAND_WORDS
    async with open_company(tmp_path, fact_layout="blocks") as company:
        warm = await company.ask(0, 1)
        assert content(warm) == content(cold)
        assert cached(warm) > 0
        await company.until('facts_blocks_total{level="disk"}', 2 + BRAND_WORDS)
        await company.engine.drop_prefixes()
        assert list((tmp_path / "factcache").iterdir()) == []


async def test_a_brands_words_are_computed_once_and_go_with_no_source(tmp_path: Path) -> None:
    """Another question about another document reads them from the context; what the brand says stays the same."""
    async with open_company(tmp_path, fact_layout="blocks") as company:
        await company.ask(0)
        await company.until('facts_blocks_total{level="computed"}', 1 + BRAND_WORDS)
        warm = await company.ask(1)
        await company.until('facts_blocks_total{level="computed"}', 2 + BRAND_WORDS)
        await company.until('facts_blocks_total{level="context"}', BRAND_WORDS)
        await company.engine.drop_prefixes()
        assert content(await company.ask(1)) == content(warm)


async def test_exact_is_unchanged_and_writes_nothing(tmp_path: Path) -> None:
    async with open_company(tmp_path, fact_layout="exact") as company:
        one, other = await company.ask(0, 1), await company.ask(1, 0)
        assert cached(other) < cached(await company.ask(0, 1, question="How long is it?"))
        assert one["usage"]["prompt_tokens"] == other["usage"]["prompt_tokens"]
        await company.until("facts_in_blocks", 0)
    assert not (tmp_path / "factcache").exists()


async def test_what_was_computed_while_nobody_asked_is_there_for_the_first_question(tmp_path: Path) -> None:
    async with open_company(tmp_path, fact_layout="blocks") as company:
        num_chunks = sum(map(len, CHUNKS.values()))
        assert await Warmer(company.services).warm() == num_chunks
        first = await company.ask(0)
        await company.until('facts_blocks_total{level="computed"}', num_chunks + BRAND_WORDS)
        assert cached(first) > 0
    async with open_company(tmp_path / "cold", fact_layout="blocks") as company:
        assert content(await company.ask(0)) == content(first)


async def test_popular_sources_go_first_and_each_is_asked_for_once(tmp_path: Path) -> None:
    async with open_company(tmp_path, fact_layout="blocks") as company:
        records = company.services.records
        for number, chunk_ids in enumerate(
            (["manual-0"], ["gone-0"], ["manual-0", "warranty-1"], ["gone-0", "menu-0"])
        ):
            record = RequestRecord(str(number), "k", "m", "b", chunk_ids=chunk_ids, created_unix_seconds=number)
            records.write(record).result()
        assert records.popular_chunks(100, 2) == ["gone-0", "manual-0"]
        assert records.popular_chunks(2, 9) == ["gone-0", "manual-0", "menu-0", "warranty-1"]
        await company.ask(1)
        await company.until('facts_blocks_total{level="computed"}', 1 + BRAND_WORDS)
        warmer = Warmer(company.services)
        assert await warmer.warm() == sum(map(len, CHUNKS.values()))
        await company.until('facts_blocks_total{level="computed"}', 4 + BRAND_WORDS)
        assert await warmer.warm() == 0


async def test_nothing_is_computed_ahead_where_facts_are_read_in_one_piece(tmp_path: Path) -> None:
    async with open_company(tmp_path, fact_layout="exact") as company:
        assert await Warmer(company.services).warm() == 0


async def test_nothing_is_computed_ahead_that_no_voice_reads(tmp_path: Path) -> None:
    async with open_company(tmp_path, fact_layout="blocks", base_fact_layout="exact") as company:
        assert await Warmer(company.services).warm() == 0
        company.activate(tmp_path, seed=2, fact_layout="blocks")
        assert await Warmer(company.services).warm() > 0


async def test_what_may_be_asked_for_never_pushes_out_what_is_kept(tmp_path: Path) -> None:
    async with open_company(tmp_path, fact_layout="blocks") as company:
        await company.ask(1)
        kept = company.engine.status().facts.num_disk_bytes
        settings = company.services.settings
        small = settings.engine.model_copy(update={"fact_disk_bytes": kept})
        company.services.settings = settings.model_copy(update={"engine": small})
        assert await Warmer(company.services).warm() == 0


async def test_it_begins_by_itself_and_looks_again_only_after_something_happened(tmp_path: Path) -> None:
    async with open_company(tmp_path, fact_layout="blocks") as company:
        warmer, num_chunks = Warmer(company.services), sum(map(len, CHUNKS.values()))
        running = asyncio.create_task(warmer.run())
        async with asyncio.timeout(120):
            while warmer.has_news():  # noqa: ASYNC110  what is waited for is another process
                await asyncio.sleep(0.1)
        running.cancel()
        assert await company.metric('facts_blocks_total{level="computed"}') == num_chunks
        await company.ask(0)
        assert warmer.has_news()
        assert await warmer.warm() == 0
        assert not warmer.has_news()
        company.services.check_index()
        assert warmer.has_news()


async def test_each_voice_reads_no_faster_than_its_adapter_was_trained_for(tmp_path: Path) -> None:
    """Side by side in one server: the base and a brand trained on blocks use them, another version does not."""
    async with open_company(tmp_path, fact_layout="blocks") as company:
        blocks, lasting = await company.read("halden@0")
        assert blocks == 2 + BRAND_WORDS
        assert lasting != ["1", "2"]
        company.activate(tmp_path, seed=1)
        assert await company.read() == (0, ["1", "2"])
        company.activate(tmp_path, seed=2, fact_layout="blocks")
        assert await company.read() == (2 + BRAND_WORDS, lasting)
        company.activate(tmp_path, seed=3, fact_layout="sideways")
        assert await company.read() == (0, ["1", "2"])
        assert await company.read("halden@2") == (2 + BRAND_WORDS, lasting)
        status = (await company.client.get("/api/status")).json()
        assert status["base_fact_layout"] == "blocks"
        listed = (await company.client.get("/api/adapters")).json()["adapters"]
        assert [row["fact_layout"] for row in listed] == ["exact", "blocks", "exact"]


async def test_the_base_can_be_kept_to_one_piece(tmp_path: Path) -> None:
    async with open_company(tmp_path, fact_layout="blocks", base_fact_layout="exact") as company:
        assert await company.read("halden@0") == (0, ["1", "2"])
        company.activate(tmp_path, seed=2, fact_layout="blocks")
        assert (await company.read())[0] == 2 + BRAND_WORDS


async def test_an_adapter_for_blocks_reads_in_one_piece_where_the_engine_does(tmp_path: Path) -> None:
    async with open_company(tmp_path, fact_layout="exact") as company:
        company.activate(tmp_path, seed=2, fact_layout="blocks")
        assert await company.read() == (0, ["1", "2"])
