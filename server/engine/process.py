"""The engine process: the only one that computes with llama.cpp.

One thread runs the loop; another reads the pipe, so that the parent never blocks on a long batch, and ends the process
at once when the parent is gone. Signals for the whole group are left to the parent, which coordinates the shutdown.
"""

import logging
import os
import queue
import resource
import signal
import threading
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from config.errors import EngineError, ModelError
from config.settings import EngineSettings
from server.engine.core import EngineCore
from server.engine.facts import Documents
from server.engine.llama import ContextShape, LlamaBackend
from server.engine.messages import EngineStatus, Event, GenerateRequest
from server.engine.requantise import ServedWeights, served_weights
from server.engine.steptime import StepTable
from server.engine.steptrial import find_table
from server.engine.storage import EngineStorage
from server.engine.vocabulary import Vocabulary

STATUS_SECONDS = 0.1
PARENT_CHECK_SECONDS = 1.0
IDLE_SECONDS = 0.5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Submit:
    request: GenerateRequest


@dataclass(frozen=True, slots=True)
class Cancel:
    request_id: str


@dataclass(frozen=True, slots=True)
class DropPrefixes:
    documents: Documents


@dataclass(frozen=True, slots=True)
class Stop:
    pass


Command = Submit | Cancel | DropPrefixes | Stop


@dataclass(frozen=True, slots=True)
class Ready:
    status: EngineStatus


@dataclass(frozen=True, slots=True)
class Broken:
    """The process cannot start, or cannot go on, and is about to end."""

    message: str
    hint: str = ""
    is_model: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """What one step gave. `status` where it changed and the last one is old enough."""

    events: tuple[Event, ...]
    status: EngineStatus | None = None


Report = Ready | Broken | Published


def run_engine(
    connection: Connection, model: Path, settings: EngineSettings, storage: EngineStorage | None, parent: int
) -> None:
    """Entry point of the child process; returns when told to stop."""
    _detach()
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, commands, parent), daemon=True).start()
    try:
        _Loop(connection, commands, model, settings, storage).run()
    except ModelError as error:
        connection.send(Broken(error.message, error.hint, is_model=True))
    except EngineError as error:
        log.exception("the engine stops")
        connection.send(Broken(error.message, error.hint))


def _detach() -> None:
    """No core files, which would hold prompts; Ctrl-C and SIGTERM to the group reach the parent, which decides."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _receive(connection: Connection, commands: "queue.SimpleQueue[Command]", parent: int) -> None:
    try:
        while os.getppid() == parent:
            if connection.poll(PARENT_CHECK_SECONDS):
                commands.put(connection.recv())
    except (EOFError, OSError):
        pass
    os._exit(0)


class _Loop:
    def __init__(
        self,
        connection: Connection,
        commands: "queue.SimpleQueue[Command]",
        model: Path,
        settings: EngineSettings,
        storage: EngineStorage | None,
    ) -> None:
        self._connection = connection
        self._commands = commands
        self._events: list[Event] = []
        self._vocabulary = Vocabulary.open(model)
        served, backend = _open(model, settings, storage)
        self._weights = served.note
        table = _step_table(backend, served.storage)
        self._core = EngineCore(backend, self._vocabulary, settings, self._events.append, served.storage, table)
        self._status = self._read_status()
        self._status_time = 0.0
        self._is_stopping = False

    def run(self) -> None:
        self._connection.send(Ready(self._status))
        while not self._is_stopping:
            self._obey(is_waiting=False)
            is_busy = self._core.step()
            self._report(is_idle=not is_busy)
            if not is_busy:
                self._core.check_integrity()
                self._obey(is_waiting=True)

    def _obey(self, *, is_waiting: bool) -> None:
        """Carry out all commands that are there; where idle, wait for the next one."""
        try:
            if is_waiting:
                self._carry_out(self._commands.get(timeout=IDLE_SECONDS))
            while not self._is_stopping:
                self._carry_out(self._commands.get_nowait())
        except queue.Empty:
            pass

    def _carry_out(self, command: Command) -> None:
        match command:
            case Submit(request):
                self._core.submit(request)
            case Cancel(request_id):
                self._core.cancel(request_id)
            case DropPrefixes(documents):
                self._core.drop_prefixes(documents)
            case Stop():
                self._is_stopping = True

    def _report(self, *, is_idle: bool) -> None:
        status = self._changed_status(is_idle=is_idle)
        if self._events or status is not None:
            self._connection.send(Published(tuple(self._events), status))
            self._events.clear()

    def _changed_status(self, *, is_idle: bool) -> EngineStatus | None:
        now = time.monotonic()
        if not is_idle and now - self._status_time < STATUS_SECONDS:
            return None
        status = self._read_status()
        if status == self._status:
            return None
        self._status, self._status_time = status, now
        return status

    def _read_status(self) -> EngineStatus:
        return replace(self._core.status(), pid=os.getpid(), weights=self._weights)


def _open(model: Path, settings: EngineSettings, storage: EngineStorage | None) -> tuple[ServedWeights, LlamaBackend]:
    """A copy that cannot be loaded is made again at the next start; until then the file is served."""
    shape = ContextShape.from_settings(settings)
    served = served_weights(model, settings.weight_type, storage, on_gpu=settings.gpu_layers != 0)
    try:
        return served, LlamaBackend(served.path, shape)
    except ModelError as error:
        if served.path == model:
            raise
        log.warning("%s It is removed, and the file itself is served.", error)
        served.path.unlink(missing_ok=True)
        served = ServedWeights(model, storage, "as in the file: its copy was damaged, and is made anew at a start")
    return served, LlamaBackend(served.path, shape)


def _step_table(backend: LlamaBackend, storage: EngineStorage | None) -> StepTable | None:
    if storage is None or storage.step_times is None:
        return None
    origin = f"{storage.base_sha256}, {backend.machine}"
    return find_table(backend, storage.step_times, origin, backend.num_threads)
