"""The parent's side of parsing: worker processes that are started, watched, killed and replaced."""

import json
import os
import queue
import selectors
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from pydantic import TypeAdapter, ValidationError

from config.errors import ConfigError
from ingest.parse.reasons import ParseError, Reason
from ingest.parse.wire import Limits, Order, Parsed, Refused

RECYCLE_AFTER = 64
"""Files that one process reads before it is replaced: what a library leaks stays small."""

MAX_REPLY_BYTES = 100_000_000
"""A document at its largest (outline.MAX_CHARACTERS) takes 40 MB; headings come on top."""

GRACE_SECONDS = 5.0
"""Beyond the worker's own limits: it kills itself in time unless it is stopped or swapped out."""

START_SECONDS = 300.0
"""For a fresh worker to load what it needs: no file's fault, and slow on a machine that is busy otherwise."""

KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "SYSTEMROOT", "TMPDIR")
REPLY: TypeAdapter[Parsed | Refused] = TypeAdapter(Parsed | Refused)


class ParseWorker:
    """One child process at a time; a file that kills it costs only itself. Not thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._num_parsed = 0

    def parse(self, path: Path, name: str) -> Parsed:
        """Raises ParseError with the reason, ConfigError where no worker starts."""
        process = self._running()
        self._num_parsed += 1
        try:
            reply = self._exchange(process, Order(os.fspath(path), name))
        except ParseError:
            self.close()
            raise
        if isinstance(reply, Refused):
            if reply.reason == Reason.TOO_LARGE:
                # Its memory is used up, and libraries do not give all of it back.
                self.close()
            raise ParseError(Reason(reply.reason), reply.detail)
        return reply

    def kill(self) -> None:
        """End what runs now, from any thread; `parse` raises, and the next one starts afresh."""
        process = self._process
        if process:
            process.kill()

    def close(self) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process and (self._process.poll() is not None or self._num_parsed >= RECYCLE_AFTER):
            self.close()
        if self._process is None:
            self._process = _start(self._limits)
            self._num_parsed = 0
            self._await_ready(self._process)
        return self._process

    def _await_ready(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout
        try:
            self._read_line(process, process.stdout.fileno(), START_SECONDS)
        except ParseError as error:
            # No file's fault: the run ends here, and the next one goes on.
            self.close()
            raise ConfigError(
                f"No parser starts within {START_SECONDS:g} seconds and {self._limits.memory_bytes:,} bytes of memory. "
                "Raise ingest.parse_memory_bytes, or run ingest again when the machine is less busy."
            ) from error

    def _exchange(self, process: "subprocess.Popen[bytes]", order: Order) -> Parsed | Refused:
        assert process.stdin
        assert process.stdout
        try:
            os.write(process.stdin.fileno(), json.dumps(asdict(order)).encode() + b"\n")
        except BrokenPipeError:
            raise _explain_end(process, self._limits) from None
        seconds = self._limits.seconds + self._limits.ocr_seconds + GRACE_SECONDS
        line = self._read_line(process, process.stdout.fileno(), seconds)
        try:
            return REPLY.validate_json(line)
        except ValidationError as error:
            raise ParseError(Reason.DAMAGED, "The parser's answer made no sense.") from error

    def _read_line(self, process: "subprocess.Popen[bytes]", descriptor: int, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        parts: list[bytes] = []
        size = 0
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while selector.select(max(0.0, deadline - time.monotonic())):
                part = os.read(descriptor, 1 << 20)
                parts.append(part)
                size += len(part)
                if part.endswith(b"\n"):
                    return b"".join(parts)
                if not part:
                    raise _explain_end(process, self._limits)
                if size > MAX_REPLY_BYTES:
                    raise ParseError(Reason.TOO_LARGE, f"Its text takes more than {MAX_REPLY_BYTES:,} bytes.")
        raise _timed_out(self._limits)


class ParsePool:
    """`num_workers` children that parse beside the caller. Use it as a context manager."""

    def __init__(self, limits: Limits, num_workers: int) -> None:
        self._threads = ThreadPoolExecutor(num_workers, thread_name_prefix="parse")
        self._workers = [ParseWorker(limits) for _ in range(num_workers)]
        self._idle: queue.SimpleQueue[ParseWorker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def submit(self, path: Path, name: str) -> Future[Parsed]:
        """The future raises ParseError where the file is refused."""
        return self._threads.submit(self._parse, path, name)

    def _parse(self, path: Path, name: str) -> Parsed:
        worker = self._idle.get()
        try:
            return worker.parse(path, name)
        finally:
            self._idle.put(worker)

    def __enter__(self) -> "ParsePool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers if kind else []:
            worker.kill()
        self._threads.shutdown(wait=True)
        for worker in self._workers:
            worker.close()


def _start(limits: Limits) -> "subprocess.Popen[bytes]":
    """A fresh interpreter with a bare environment: no keys, no proxies, and one thread for each numeric library."""
    environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    numbers = [limits.memory_bytes, limits.seconds, limits.max_file_bytes, limits.ocr_seconds]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "ingest.parse.worker", *map(str, numbers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        bufsize=0,
    )


def _explain_end(process: "subprocess.Popen[bytes]", limits: Limits) -> ParseError:
    """The worker ended without an answer: by its own limits, or by a crash of a native library."""
    try:
        code = process.wait(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        return _timed_out(limits)
    if -code in (signal.SIGXCPU, signal.SIGALRM):
        return _timed_out(limits)
    if -code == signal.SIGKILL:
        return ParseError(Reason.TOO_LARGE, "The system ended the parser, most likely for want of memory.")
    what = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return ParseError(Reason.DAMAGED, f"The parser crashed on it ({what}): it is broken, or it takes too much memory.")


def _timed_out(limits: Limits) -> ParseError:
    ocr = f", or {limits.ocr_seconds:g} for its pictures (ingest.ocr_seconds)" if limits.ocr_seconds else ""
    return ParseError(
        Reason.TIMED_OUT, f"Reading it takes more than {limits.seconds:g} seconds (ingest.parse_seconds){ocr}."
    )
