"""From settings to a running server and back: lock, first key, start, drain, stop."""

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvicorn
from rich.console import Console
from rich.markup import escape

from config.environment import prepare_environment
from config.errors import ConfigError, HousevoiceError
from config.settings import ServerSettings, Settings
from server.keys import NewKey, ensure_local_key, has_shared_key
from server.services import Services

if TYPE_CHECKING:
    from fastapi import FastAPI

MARGIN_SECONDS = 2
"""Between ending the last streams with an error and closing their connections."""

STARTUP_FAILED = 2
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Startup:
    """What to bring in, and how the start went; `error` is what a person must read."""

    with_sample: bool
    error: HousevoiceError | None = None


class QuietServer(uvicorn.Server):
    """uvicorn without its signal handling, which raises the signal again at the end: a drained stop exits 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run_server(settings: Settings, *, with_sample: bool = False) -> int:
    """Serve until SIGTERM or Ctrl-C. Returns the exit code: 0 after a drained stop, 2 where it could not start.

    with_sample: first bring in the sample company's documents and adapters.
    """
    prepare_environment()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        with _listening(settings) as listener, settings.data.own("server", _url(settings.server, listener)):
            return asyncio.run(_serve(settings, listener, with_sample))
    except HousevoiceError as error:
        _say_failure(error)
        return STARTUP_FAILED


async def _serve(settings: Settings, listener: socket.socket, with_sample: bool) -> int:
    from server.application import create_app
    from server.lifecycle import open_services

    services = open_services(settings)
    startup = Startup(with_sample)
    try:
        new_key = ensure_local_key(services.keys, settings.data.local_key)
        check_host(settings.server, has_shared_key=has_shared_key(services.keys))
        app = create_app(services)
        server = QuietServer(_uvicorn_config(app, settings.server))
        Drain(server, services).install()
        loading = asyncio.create_task(_load(app, server, startup, _url(settings.server, listener), new_key))
        await server.serve(sockets=[listener])
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await app.state.training_jobs.stop()
        await app.state.ingest.wait()
        await app.state.index_jobs.wait()
    finally:
        await services.close()
    if startup.error:
        _say_failure(startup.error)
    return STARTUP_FAILED if startup.error else 0


async def _load(app: "FastAPI", server: QuietServer, startup: Startup, url: str, new_key: NewKey | None) -> None:
    """Load while /readyz already says 503; then greet, train what is queued, and watch the index for as long as the
    server runs.
    """
    from server.lifecycle import load, watch_index
    from server.warming import Warmer

    services: Services = app.state.services
    try:
        await load(services, with_sample=startup.with_sample)
    except ExceptionGroup as group:
        startup.error = _first_meant_for_people(group)
        server.should_exit = True
        return
    _greet(services, url, new_key)
    app.state.training_jobs.start()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch_index(services))
        tasks.create_task(Warmer(services).run())


def _uvicorn_config(app: object, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # FastAPI is an ASGI application; uvicorn's union of types does not show it
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=int(settings.shutdown_seconds) + MARGIN_SECONDS,
    )


class Drain:
    """First signal: refuse new work, let running answers finish, then end the rest. Second: stop at once."""

    def __init__(self, server: QuietServer, services: Services) -> None:
        self._server = server
        self._services = services
        self._stopping: asyncio.Task[None] | None = None

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.on_signal)

    def on_signal(self) -> None:
        self._server.force_exit = self._services.is_draining
        self._server.should_exit = True
        if not self._services.is_draining:
            self._services.is_draining = True
            asyncio.get_running_loop().call_later(self._services.settings.server.shutdown_seconds, self._end_streams)

    def _end_streams(self) -> None:
        """Time is up: the engine stops, which ends every open stream with an error event."""
        self._stopping = asyncio.create_task(self._services.engine.stop())


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """Bind before anything is loaded: a taken port is found out at once, and port 0 gets its number."""
    host, port = settings.server.host.strip("[]"), settings.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            with settings.data.own("server"):  # the likeliest reason is a server on the same data: name that one
                pass
            raise ConfigError(
                f"Cannot listen on {host}:{port} ({error.strerror}).", "Choose another port with HOUSEVOICE_PORT."
            ) from error
        yield listener


def check_host(settings: ServerSettings, *, has_shared_key: bool) -> None:
    """Raises ConfigError for a host beyond loopback while only the local key exists."""
    if has_shared_key or is_loopback(settings.host):
        return
    raise ConfigError(
        f"server.host = {settings.host!r} can be reached from other machines, but no key was made for anybody there.",
        "Make one first: housevoice keys create NAME",
    )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _url(settings: ServerSettings, listener: socket.socket) -> str:
    host = "localhost" if settings.host in ("0.0.0.0", "::", "[::]") else settings.host
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def _greet(services: Services, url: str, new_key: NewKey | None) -> None:
    """What one needs to ask the first question."""
    key_file = services.settings.data.local_key
    brands = services.brands.brands()
    model = next(iter(brands), services.base.name)
    out = Console(stderr=True)
    out.print(f"\n[bold green]housevoice is ready[/] at [bold]{escape(url)}[/]")
    for brand in brands.values():
        active = services.registry.active(brand.name)
        voice = active.name if active else "no adapter yet, prompt only"
        out.print(f"  [bold]{escape(brand.name)}[/]  {escape(brand.title)} ({escape(voice)})")
        if active and (reason := services.registry.mismatch(active)):
            hint = services.registry.how_to_retrain(active)
            out.print(f"    [bold red]refused:[/] {escape(reason)} {escape(hint)}", soft_wrap=True)
    out.print(f"  [bold]{escape(services.base.name)}[/]  the base, plainly")
    shown = f"[bold]{escape(new_key.text)}[/] (kept in {escape(str(key_file))})" if new_key else escape(str(key_file))
    out.print(f"Key: {shown}", soft_wrap=True)
    out.print(
        f"Try: curl {url}/v1/chat/completions -H \"Authorization: Bearer $(cat '{key_file}')\""
        f' -H \'Content-Type: application/json\' -d \'{{"model":"{model}","messages":'
        '[{"role":"user","content":"How long is the warranty?"}]}\'\n',
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _first_meant_for_people(group: ExceptionGroup[Exception]) -> HousevoiceError:
    """Anything else is a bug of ours: the log has it, and the start has failed all the same."""
    error: BaseException | None = group.subgroup(HousevoiceError)
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, HousevoiceError):
        return error
    logger.error("Loading failed", exc_info=group)
    return HousevoiceError("Loading failed; the lines above say where.", "Please report them.")


def _say_failure(error: HousevoiceError) -> None:
    out = Console(stderr=True)
    out.print(f"[bold red]housevoice could not start.[/] {escape(error.message)}")
    if error.hint:
        out.print(escape(error.hint))
