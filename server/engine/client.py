"""The asyncio side of the engine process: starts it, talks to it, and starts it again when it dies.

    generate() --Submit--> pipe --> engine process
    queue per request <--call_soon_threadsafe-- reader thread <-- pipe

All state belongs to the event loop's thread. A native crash ends every request in flight with a FailedEvent.
"""

import asyncio
import logging
import multiprocessing
import os
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from multiprocessing.util import Finalize
from pathlib import Path

from config.errors import EngineError, HousevoiceError, ModelError
from config.settings import EngineSettings
from server.engine.adapter_check import check_in_own_process
from server.engine.factfiles import forget_files
from server.engine.facts import Documents
from server.engine.messages import (
    AdapterRef,
    EngineStatus,
    Event,
    FailedEvent,
    FailureKind,
    GenerateRequest,
    TextEvent,
)
from server.engine.process import (
    Broken,
    Cancel,
    Command,
    DropPrefixes,
    Published,
    Ready,
    Report,
    Stop,
    Submit,
    run_engine,
)
from server.engine.storage import EngineStorage

MAX_BACKOFF_SECONDS = 30.0
STABLE_SECONDS = 60.0
"""A process that lived this long has not crashed at start: the next restart waits the shortest time again."""
START_SECONDS = 300.0
STOP_SECONDS = 5.0

log = logging.getLogger(__name__)


class EngineClient:
    """Implements `messages.Engine`. Use from one event loop. storage: where fact blocks survive restarts, if at all."""

    def __init__(self, model: Path, settings: EngineSettings, storage: EngineStorage | None = None) -> None:
        self._model = model
        self._settings = settings
        self._storage = storage
        self._status = EngineStatus(is_ready=False)
        self._requests: dict[str, asyncio.Queue[Event]] = {}
        self._child: _Child | None = None
        self._restarting: asyncio.Task[None] | None = None
        self._backoff = settings.restart_backoff_seconds
        self._ready_since = 0.0
        self._is_stopped = False

    async def start(self) -> None:
        await self._launch()

    async def stop(self) -> None:
        self._is_stopped = True
        if self._restarting is not None:
            self._restarting.cancel()
            with suppress(asyncio.CancelledError):
                await self._restarting
        child, self._child = self._child, None
        self._fail_all("The server is shutting down.")
        self._status = replace(self._status, is_ready=False)
        if child is not None:
            child.send(Stop())
            await asyncio.to_thread(child.end, STOP_SECONDS)

    def status(self) -> EngineStatus:
        return self._status

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        if request.request_id in self._requests:
            raise ValueError(f"request id {request.request_id} is in use")
        events: asyncio.Queue[Event] = asyncio.Queue()
        child = self._child
        if child is None or not self._status.is_ready:
            yield FailedEvent(request.request_id, FailureKind.ENGINE, "The engine is not running; it is being started.")
            return
        self._requests[request.request_id] = events
        is_over = False
        try:
            child.send(Submit(request))
            while not is_over:
                event = await events.get()
                is_over = not isinstance(event, TextEvent)
                if is_over:  # a reader that stops here need not close the generator for the id to be free again
                    del self._requests[request.request_id]
                yield event
        finally:
            if not is_over:
                del self._requests[request.request_id]
                child.send(Cancel(request.request_id))

    async def check_adapter(self, adapter: AdapterRef) -> None:
        await asyncio.to_thread(check_in_own_process, self._model, adapter)

    async def drop_prefixes(self, documents: Documents = None) -> None:
        if self._storage is not None:  # even where no engine runs that could do it
            await asyncio.to_thread(forget_files, self._storage.facts, documents)
        if self._child is not None:
            self._child.send(DropPrefixes(documents))

    async def _launch(self) -> None:
        """Raises ModelError or EngineError where the process ends before it is ready."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Report] = loop.create_future()
        child = _Child(self._model, self._settings, self._storage)
        threading.Thread(target=self._read, args=(child, loop, answer), name="engine-reader", daemon=True).start()
        try:
            async with asyncio.timeout(START_SECONDS):
                report = await answer
        except TimeoutError:
            report = Broken(f"The engine was not ready after {START_SECONDS:g} seconds.")
        if not isinstance(report, Ready):
            await asyncio.to_thread(child.end, 0)
            raise _as_error(report)
        self._child = child
        self._ready_since = loop.time()
        self._status = replace(
            report.status, num_restarts=self._status.num_restarts, last_error=self._status.last_error
        )

    def _read(self, child: "_Child", loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[Report]") -> None:
        """The reader thread: reports to the event loop until the pipe ends."""
        with suppress(RuntimeError):  # the event loop was closed without stop()
            try:
                while True:
                    loop.call_soon_threadsafe(self._on_report, child, child.connection.recv(), answer)
            except (EOFError, OSError):
                loop.call_soon_threadsafe(self._on_lost, child, answer)

    def _on_report(self, child: "_Child", report: Report, answer: "asyncio.Future[Report]") -> None:
        if isinstance(report, Published):
            self._deliver(report)
        elif not answer.done():
            answer.set_result(report)
        elif isinstance(report, Broken):
            child.last_words = report.message

    def _deliver(self, report: Published) -> None:
        for event in report.events:
            if event.request_id in self._requests:
                self._requests[event.request_id].put_nowait(event)
        if report.status is not None:
            kept = self._status
            self._status = replace(
                report.status,
                is_ready=kept.is_ready,
                num_restarts=kept.num_restarts,
                last_error=report.status.last_error or kept.last_error,
            )

    def _on_lost(self, child: "_Child", answer: "asyncio.Future[Report]") -> None:
        """The pipe ended: before it was ready, after a crash, or because it was told to stop."""
        if not answer.done():
            answer.set_result(Broken("The engine process ended while it was loading the model.", is_model=True))
        if child is not self._child:
            return
        self._child = None
        reason = child.last_words or f"The engine process {child.pid} ended unexpectedly."
        log.error("%s It is started again.", reason)
        self._status = replace(self._status, is_ready=False, num_running=0, num_queued=0, last_error=reason)
        self._fail_all("The engine failed and is restarting; send the request again.")
        self._restarting = asyncio.get_running_loop().create_task(self._restart(child))

    async def _restart(self, lost: "_Child") -> None:
        """Wait, start, and wait longer each time that it fails."""
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(lost.end, 0)
        if loop.time() - self._ready_since > STABLE_SECONDS:
            self._backoff = self._settings.restart_backoff_seconds
        while not self._is_stopped:
            await asyncio.sleep(self._backoff)
            self._backoff = min(self._backoff * 2, MAX_BACKOFF_SECONDS)
            self._status = replace(self._status, num_restarts=self._status.num_restarts + 1)
            try:
                await self._launch()
            except HousevoiceError as error:
                log.error("The engine did not start: %s", error)
                self._status = replace(self._status, last_error=str(error))
            else:
                return

    def _fail_all(self, message: str) -> None:
        for request_id, events in self._requests.items():
            events.put_nowait(FailedEvent(request_id, FailureKind.ENGINE, message))


class _Child:
    """One engine process and our end of its pipe."""

    def __init__(self, model: Path, settings: EngineSettings, storage: EngineStorage | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.last_words = ""
        self._process = context.Process(
            target=run_engine,
            args=(theirs, model, settings, storage, os.getpid()),
            name="housevoice-engine",
            daemon=True,
        )
        self._process.start()
        theirs.close()
        # It ignores SIGTERM, which is what multiprocessing sends and then waits for when the interpreter exits.
        self._finalizer = Finalize(self, self._process.kill, exitpriority=10)

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def send(self, command: Command) -> None:
        """A lost process is noticed by the reader thread, so a broken pipe is no news here."""
        with suppress(OSError):
            self.connection.send(command)

    def end(self, seconds: float) -> None:
        """Wait for it to end, then kill it. Blocks."""
        self._process.join(seconds)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._finalizer.cancel()


def _as_error(report: Report) -> HousevoiceError:
    if not isinstance(report, Broken):
        return EngineError(f"The engine answered {type(report).__name__} at its start.")
    kind = ModelError if report.is_model else EngineError
    return kind(report.message, report.hint)
