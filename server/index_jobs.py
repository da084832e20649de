"""Long work on the index in a running server: rebuild, roll back, verify, back up. One at a time, beside the chats.

A job goes to its end even if nobody listens any more; a server that is told to stop ends it between two documents, and
the next rebuild goes on from there.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import Any

from config.errors import HousevoiceError, OverloadedError
from ingest.documents import Progress
from ingest.generations import IndexGenerations
from server.failures import NotReadyError, failure_of
from server.index_work import Work
from server.services import Services

logger = logging.getLogger(__name__)


class IndexJobs:
    """Used from the event loop only."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._running: asyncio.Task[None] | None = None

    def start(self, work: Work) -> AsyncGenerator[dict[str, Any], None]:
        """{"progress": ...} any number of times, then one {"report": ...} or {"error": ...}.

        Raises OverloadedError while another job runs, NotReadyError while the index loads.
        """
        if self._running is not None and not self._running.done():
            raise OverloadedError("Another job works on the index.", 10)
        generations = self._services.generations()
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._running = asyncio.create_task(self._run(work, generations, queue))
        return _lines(queue)

    async def wait(self) -> None:
        """Until the running one, if any, has ended."""
        if self._running is not None:
            await asyncio.wait({self._running})

    async def _run(self, work: Work, generations: IndexGenerations, queue: asyncio.Queue[dict[str, Any]]) -> None:
        loop = asyncio.get_running_loop()

        def on_progress(progress: Progress) -> None:
            if self._services.is_draining:
                raise NotReadyError("The server is shutting down.", "Run the command again: it goes on where it was.")
            loop.call_soon_threadsafe(queue.put_nowait, {"progress": asdict(progress)})

        try:
            report = await asyncio.to_thread(work, generations, on_progress)
            await asyncio.to_thread(self._services.check_index)
            queue.put_nowait({"report": report})
        except Exception as error:
            if not isinstance(error, HousevoiceError):
                logger.error("A job on the index failed", exc_info=error)
            queue.put_nowait(failure_of(error).body)


async def _lines(queue: asyncio.Queue[dict[str, Any]]) -> AsyncGenerator[dict[str, Any], None]:
    while True:
        line = await queue.get()
        yield line
        if "progress" not in line:
            return
