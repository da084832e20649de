"""One ingest at a time, in a thread beside the running chats, with its progress as events.

A run goes to its end even if nobody listens any more. Only a server that is told to stop ends it early, between files;
what is indexed by then stays, and the next run goes on from there.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from config.errors import HousevoiceError, OverloadedError
from ingest.documents import Document, IngestReport, Progress
from ingest.origins import Origin
from server.failures import NotReadyError
from server.ingest_metrics import IngestMetrics
from server.services import Services

TURN_SECONDS = 60.0
"""How long an upload or a deletion waits for a run that goes on."""

logger = logging.getLogger(__name__)
IngestEvent = Progress | IngestReport | Exception
"""Progress any number of times, then one report or one error."""


@dataclass(frozen=True, slots=True)
class IngestOrder:
    origin: Origin
    knowledge_base: str
    dry_run: bool = False


class IngestRunner:
    """Used from the event loop only."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._metrics = IngestMetrics(services.metrics.registry)
        self._running: asyncio.Task[None] | None = None

    def start(self, order: IngestOrder) -> AsyncGenerator[IngestEvent, None]:
        """Raises OverloadedError while another runs, NotReadyError while the index loads."""
        if self._running is not None and not self._running.done():
            raise OverloadedError("Another ingest is running.", 10)
        self._services.ready_facts()
        queue: asyncio.Queue[IngestEvent] = asyncio.Queue()
        self._running = asyncio.create_task(self._run(order, queue))
        return _events(queue)

    async def report_of(self, order: IngestOrder) -> IngestReport:
        """Wait for a turn and for the end. Raises what `start` raises, and what the run ended with."""
        await self._turn()
        async for event in self.start(order):
            if isinstance(event, Exception):
                raise event
            if isinstance(event, IngestReport):
                return event
        raise AssertionError("a run ends with a report or an error")

    async def remove(self, document: Document) -> None:
        """A document with everything that is kept of it, cached prompts included."""
        await self._turn()
        task = asyncio.create_task(self._remove(document))
        self._running = task
        await asyncio.shield(task)

    async def wait(self) -> None:
        """Until the running one, if any, has ended."""
        if self._running is not None:
            await asyncio.wait({self._running})

    async def _turn(self) -> None:
        """Several may wait; the one that gets the turn goes on without another await, so it keeps it."""
        try:
            async with asyncio.timeout(TURN_SECONDS):
                while self._running is not None and not self._running.done():
                    await self.wait()
        except TimeoutError:
            raise OverloadedError("Another ingest is running.", 10) from None

    async def _remove(self, document: Document) -> None:
        store = self._services.ready_facts().store
        await asyncio.to_thread(store.remove, document.knowledge_base, document.path)
        await self._services.engine.drop_prefixes(frozenset([document.document_id]))
        await asyncio.to_thread(self._services.check_index)

    async def _run(self, order: IngestOrder, queue: asyncio.Queue[IngestEvent]) -> None:
        loop = asyncio.get_running_loop()

        def on_progress(progress: Progress) -> None:
            if self._services.is_draining:
                raise NotReadyError("The server is shutting down.", "Run the ingest again: it goes on where it was.")
            self._metrics.advance(progress)
            loop.call_soon_threadsafe(queue.put_nowait, progress)

        self._metrics.start()
        try:
            report = await asyncio.to_thread(
                self._services.ready_facts().store.ingest_from,
                order.origin,
                order.knowledge_base,
                dry_run=order.dry_run,
                on_progress=on_progress,
            )
            await self._after(report)
            queue.put_nowait(report)
        except Exception as error:
            if not isinstance(error, HousevoiceError):
                logger.error("The ingest of %s failed", order.origin.label, exc_info=error)
            await self._after_failure(order)
            queue.put_nowait(error)
        finally:
            self._metrics.end()

    async def _after(self, report: IngestReport) -> None:
        """Cached prompts may hold what the documents no longer say."""
        if report.dry_run:
            return
        self._metrics.finish(report)
        if report.is_change:
            await self._services.engine.drop_prefixes(frozenset(report.outdated))
        await asyncio.to_thread(self._services.check_index)

    async def _after_failure(self, order: IngestOrder) -> None:
        """It may have changed anything before."""
        if not order.dry_run:
            self._metrics.fail()
            await self._services.engine.drop_prefixes()


async def _events(queue: asyncio.Queue[IngestEvent]) -> AsyncGenerator[IngestEvent, None]:
    while True:
        event = await queue.get()
        yield event
        if not isinstance(event, Progress):
            return
