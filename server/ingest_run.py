"""One ingest at a time, in a thread beside the running chats, with its progress as events.

A run goes to its end even if nobody listens any more. Only a server that is told to stop ends it early, between files;
what is indexed by then stays, and the next run goes on from there.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from config.errors import HousevoiceError, OverloadedError
from ingest.documents import IngestReport, Progress
from server.failures import NotReadyError
from server.services import Services

logger = logging.getLogger(__name__)
IngestEvent = Progress | IngestReport | Exception
"""Progress any number of times, then one report or one error."""


@dataclass(frozen=True, slots=True)
class IngestOrder:
    source: Path
    knowledge_base: str
    dry_run: bool


class IngestRunner:
    """Used from the event loop only."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._running: asyncio.Task[None] | None = None

    def start(self, order: IngestOrder) -> AsyncGenerator[IngestEvent, None]:
        """Raises OverloadedError while another runs, NotReadyError while the index loads."""
        if self._running is not None and not self._running.done():
            raise OverloadedError("Another ingest is running.", 10)
        self._services.ready_facts()
        queue: asyncio.Queue[IngestEvent] = asyncio.Queue()
        self._running = asyncio.create_task(self._run(order, queue))
        return _events(queue)

    async def wait(self) -> None:
        """Until the running one, if any, has ended."""
        if self._running is not None:
            await asyncio.wait({self._running})

    async def _run(self, order: IngestOrder, queue: asyncio.Queue[IngestEvent]) -> None:
        loop = asyncio.get_running_loop()

        def on_progress(progress: Progress) -> None:
            if self._services.is_draining:
                raise NotReadyError("The server is shutting down.", "Run the ingest again: it goes on where it was.")
            loop.call_soon_threadsafe(queue.put_nowait, progress)

        try:
            report = await asyncio.to_thread(
                self._services.ready_facts().store.ingest,
                order.source,
                order.knowledge_base,
                dry_run=order.dry_run,
                on_progress=on_progress,
            )
            await self._after(report)
            queue.put_nowait(report)
        except Exception as error:
            if not isinstance(error, HousevoiceError):
                logger.error("The ingest of %s failed", order.source, exc_info=error)
            queue.put_nowait(error)

    async def _after(self, report: IngestReport) -> None:
        """Cached prompts may hold what the documents no longer say."""
        if report.dry_run:
            return
        if report.num_changed or report.num_removed:
            await self._services.engine.drop_prefixes()
        await asyncio.to_thread(self._services.check_index)


async def _events(queue: asyncio.Queue[IngestEvent]) -> AsyncGenerator[IngestEvent, None]:
    while True:
        event = await queue.get()
        yield event
        if not isinstance(event, Progress):
            return
