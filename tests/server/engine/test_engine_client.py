"""The engine as a process: start, stream, cancel, crash and come back."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from config.errors import BadRequestError, ModelError
from config.settings import EngineSettings
from server.engine.client import EngineClient
from server.engine.messages import (
    Event,
    FailedEvent,
    FailureKind,
    FinishedEvent,
    GenerateRequest,
    TextEvent,
)
from server.engine.storage import EngineStorage
from server.engine.vocabulary import Vocabulary
from tests.server.engine.lora_files import write_lora


@pytest.fixture
def process_settings(settings: EngineSettings) -> EngineSettings:
    return settings.model_copy(
        update={"context_tokens": 4_096, "max_request_tokens": 2_000, "threads": 1, "restart_backoff_seconds": 0.1}
    )


@pytest.fixture
async def engine(stories_path: Path, process_settings: EngineSettings) -> AsyncIterator[EngineClient]:
    client = EngineClient(stories_path, process_settings)
    await client.start()
    yield client
    await client.stop()


@pytest.fixture
def prompt(stories_path: Path) -> tuple[int, ...]:
    return tuple(Vocabulary.open(stories_path).encode("<s>Once upon a time", is_template=True))


async def collect(engine: EngineClient, request: GenerateRequest) -> list[Event]:
    return [event async for event in engine.generate(request)]


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextEvent))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_answers_stream_and_end(engine: EngineClient, prompt: tuple[int, ...]) -> None:
    events = await collect(engine, GenerateRequest("1", prompt, 16))
    assert text(events).startswith(", there was a little girl named Lily.")
    assert isinstance(events[-1], FinishedEvent)
    assert engine.status().pid not in (0, os.getpid())


async def test_a_request_that_nobody_reads_any_more_is_cancelled(engine: EngineClient, prompt: tuple[int, ...]) -> None:
    """R8: after its third token, of 1,900."""
    async with aclosing(engine.generate(GenerateRequest("1", prompt, 1_900))) as events:
        async for _ in events:
            break
    await collect(engine, GenerateRequest("2", prompt, 4))
    await until(lambda: engine.status().num_running == 0)
    assert engine.status().num_answer_tokens < 1_000


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
async def test_a_crash_ends_what_is_in_flight_and_the_engine_comes_back(
    engine: EngineClient, prompt: tuple[int, ...], number: signal.Signals
) -> None:
    """R4, P4."""
    first_pid = engine.status().pid
    tasks = [asyncio.create_task(collect(engine, GenerateRequest(str(n), prompt, 1_900))) for n in range(4)]
    await asyncio.sleep(0.3)
    os.kill(first_pid, number)
    for events in await asyncio.gather(*tasks):
        assert isinstance(events[-1], FailedEvent)
        assert events[-1].kind == FailureKind.ENGINE
    assert not engine.status().is_ready
    (refused,) = await collect(engine, GenerateRequest("early", prompt, 4))
    assert isinstance(refused, FailedEvent)
    await until(lambda: engine.status().is_ready)
    assert isinstance((await collect(engine, GenerateRequest("again", prompt, 4)))[-1], FinishedEvent)
    status = engine.status()
    assert (status.num_restarts, status.pid == first_pid) == (1, False)
    assert str(first_pid) in status.last_error


async def test_signals_to_the_group_are_left_to_the_parent(engine: EngineClient, prompt: tuple[int, ...]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(engine.status().pid, number)
    assert isinstance((await collect(engine, GenerateRequest("1", prompt, 4)))[-1], FinishedEvent)
    assert engine.status().num_restarts == 0


async def test_stopping_ends_requests_in_flight_and_the_process(
    stories_path: Path, process_settings: EngineSettings, prompt: tuple[int, ...]
) -> None:
    engine = EngineClient(stories_path, process_settings)
    await engine.start()
    pid = engine.status().pid
    task = asyncio.create_task(collect(engine, GenerateRequest("1", prompt, 1_900)))
    await asyncio.sleep(0.2)
    await engine.stop()
    assert isinstance((await task)[-1], FailedEvent)
    assert not is_alive(pid)


async def test_the_engine_does_not_outlive_its_parent(stories_path: Path) -> None:
    """The parent is killed without a chance to say goodbye."""
    script = (
        "import asyncio, os, signal, sys\n"
        "from pathlib import Path\n"
        "from config.settings import load_settings\n"
        "from server.engine.client import EngineClient\n"
        "async def main():\n"
        "    engine = EngineClient(Path(sys.argv[1]), load_settings(environment={}).engine)\n"
        "    await engine.start()\n"
        "    print(engine.status().pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(stories_path), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await parent.communicate()
    await until(lambda: not is_alive(int(output)))


async def test_a_file_that_is_no_model_is_an_error_at_start(tmp_path: Path, process_settings: EngineSettings) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF but not really")
    with pytest.raises(ModelError, match=r"model\.gguf"):
        await EngineClient(path, process_settings).start()


async def test_a_request_id_cannot_be_used_twice_at_once(engine: EngineClient, prompt: tuple[int, ...]) -> None:
    async with aclosing(engine.generate(GenerateRequest("1", prompt, 1_900))) as events:
        await anext(events)
        with pytest.raises(ValueError, match="in use"):
            await collect(engine, GenerateRequest("1", prompt, 4))


async def test_an_id_is_free_again_after_the_terminal_event(engine: EngineClient, prompt: tuple[int, ...]) -> None:
    """Regression: it was only freed when the garbage collector closed the generator of a reader that had left."""
    readers = [engine.generate(GenerateRequest("same", prompt, 2)) for _ in range(3)]
    for reader in readers:
        while isinstance(await anext(reader), TextEvent):
            pass
    for reader in readers:
        await reader.aclose()


async def test_adapters_are_tried_without_touching_the_engine(
    engine: EngineClient, stories_path: Path, tmp_path: Path, prompt: tuple[int, ...]
) -> None:
    """R5."""
    pid = engine.status().pid
    await engine.check_adapter(write_lora(tmp_path / "sound.gguf", stories_path))
    with pytest.raises(BadRequestError, match="no effect"):
        await engine.check_adapter(write_lora(tmp_path / "idle.gguf", stories_path, magnitude=0))
    assert engine.status().pid == pid


def test_computed_facts_leave_the_disk_even_where_no_engine_runs(
    stories_path: Path, process_settings: EngineSettings, tmp_path: Path
) -> None:
    (tmp_path / "a.facts").write_bytes(b"cells")
    (tmp_path / "b.new").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    asyncio.run(EngineClient(stories_path, process_settings, EngineStorage(tmp_path, "ba5e")).drop_prefixes())
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


async def test_dropped_prefixes_are_computed_again(engine: EngineClient, prompt: tuple[int, ...]) -> None:
    async def num_cached(request_id: str) -> int:
        end = (await collect(engine, GenerateRequest(request_id, prompt, 4)))[-1]
        assert isinstance(end, FinishedEvent)
        return end.num_cached_tokens

    assert [await num_cached("1"), await num_cached("2")] == [0, len(prompt) - 1]
    await engine.drop_prefixes()
    assert await num_cached("3") == 0
