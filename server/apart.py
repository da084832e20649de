"""A function in a process that is thrown away, so that a file which kills or fills it costs only that process."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import ParamSpec, TypeVar

from config.environment import prepare_environment
from config.errors import BadRequestError, HousevoiceError

P = ParamSpec("P")
T = TypeVar("T")


class Apart:
    """Runs one function; what it returns and its HousevoiceError come back, everything else is a refusal."""

    def __init__(self, what: str, limit_seconds: float) -> None:
        """what: subject of the message where the process dies or takes too long, e.g. "Adapter voice.gguf"."""
        self._what = what
        self._limit_seconds = limit_seconds

    def __call__(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Blocks. Raises BadRequestError (bad_adapter) with the reason."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(theirs, function, arguments, options), daemon=True)
        process.start()
        theirs.close()
        try:
            if not ours.poll(self._limit_seconds):
                raise self._refusal(f"was not done after {self._limit_seconds:g} seconds")
            problem, result = ours.recv()
        except EOFError:
            raise self._refusal("kills the process that loads it") from None
        finally:
            process.kill()
            process.join()
            ours.close()
        if problem:
            raise self._refusal(f"cannot be used: {problem}")
        value: T = result
        return value

    def _refusal(self, reason: str) -> BadRequestError:
        return BadRequestError(f"{self._what} {reason}.", "adapter", "bad_adapter")


def _run(
    connection: Connection, function: Callable[..., object], arguments: tuple[object, ...], options: dict[str, object]
) -> None:
    prepare_environment()
    try:
        connection.send(("", function(*arguments, **options)))
    except HousevoiceError as error:
        connection.send((str(error).rstrip("."), None))
