"""What the fine-tuning tests share: rows, a client, a world whose base can really be trained on, and patience."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import psutil

from server.finetuning.runner import TrainingJobs
from server.keys import NewKey
from tests.adapters.tiny_words import write_speaking_base
from tests.server.api.world import BASE_URL, World, open_world

POLL_SECONDS = 0.05
PATIENCE_SECONDS = 240.0
ENDED = ("succeeded", "failed", "cancelled")


def row(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def rows(num: int = 60, first: int = 0) -> bytes:
    """Chat-JSONL as OpenAI takes it."""
    return jsonl(row(f"How long is part {number}?", f"Part {number} is long.") for number in range(first, first + num))


def jsonl(values: Iterable[object]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


@asynccontextmanager
async def official_client(world: World, key: NewKey) -> AsyncIterator[openai.AsyncOpenAI]:
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(world.app), base_url=BASE_URL)
    async with openai.AsyncOpenAI(
        api_key=key.text, base_url=f"{BASE_URL}/v1", http_client=http, max_retries=0
    ) as client:
        yield client


@asynccontextmanager
async def training_world(folder: Path, *, is_training: bool = True, **training: object) -> AsyncIterator[World]:
    """On a tiny base that speaks. The queue is at work, and stops in the end as the server stops it. On a busy machine
    a process that gives way trains for a long time, so here it does not.
    """
    if not (folder / "base.gguf").exists():
        write_speaking_base(folder / "base.gguf")
    async with open_world(folder, training={"niceness": 0, **training}) as world:
        jobs: TrainingJobs = world.app.state.training_jobs
        if is_training:
            jobs.start()
        try:
            yield world
        finally:
            await jobs.stop()


async def upload(client: openai.AsyncOpenAI, data: bytes | None = None, name: str = "rows.jsonl") -> str:
    return (await client.files.create(file=(name, data or rows()), purpose="fine-tune")).id


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if is_so():
                return
            await asyncio.sleep(POLL_SECONDS)


async def job_at(client: openai.AsyncOpenAI, job_id: str, *states: str) -> Any:
    """The job as soon as it is in one of these states; any end ends the waiting."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            job = await client.fine_tuning.jobs.retrieve(job_id)
            if job.status in states or job.status in ENDED:
                return job
            await asyncio.sleep(POLL_SECONDS)


async def messages_of(client: openai.AsyncOpenAI, job_id: str) -> list[str]:
    """All that the job told, the oldest first."""
    events = [event.message async for event in client.fine_tuning.jobs.list_events(job_id, limit=100)]
    return events[::-1]


def processes_of(job_id: str) -> list[psutil.Process]:
    """Training processes of this job on the machine."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(job_id in part for part in process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found
