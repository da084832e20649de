"""Several engine streams of one request (its `n` choices) as one stream of numbered events."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from server.engine.messages import Event


@dataclass(frozen=True, slots=True)
class NumberedEvent:
    number: int
    event: Event


async def merge(streams: Sequence[AsyncGenerator[Event, None]]) -> AsyncGenerator[NumberedEvent, None]:
    """Yield events as they come until all streams have ended. Closing this, or an error in one, closes all of them."""
    queue: asyncio.Queue[NumberedEvent | Exception | None] = asyncio.Queue()
    tasks = [asyncio.create_task(_pump(number, stream, queue)) for number, stream in enumerate(streams)]
    try:
        num_open = len(tasks)
        while num_open:
            item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                num_open -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    number: int, stream: AsyncGenerator[Event, None], queue: asyncio.Queue[NumberedEvent | Exception | None]
) -> None:
    try:
        async with aclosing(stream):
            async for event in stream:
                queue.put_nowait(NumberedEvent(number, event))
        queue.put_nowait(None)
    except Exception as error:  # noqa: BLE001  handed to the consumer, which raises it
        queue.put_nowait(error)
