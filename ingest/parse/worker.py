"""The child process that parses: `python -m ingest.parse.worker MEMORY SECONDS MAX_FILE OCR_SECONDS`.

It runs hostile input through native libraries, so it limits itself first: address space, CPU time, an alarm clock, no
network, no files written, no core dumps. It says when it is ready; then orders come in and replies go out. It ends when
its input closes.
"""

import dataclasses
import hashlib
import json
import math
import os
import resource
import signal
import sys
from functools import partial
from pathlib import Path

from ingest.parse.dispatch import parse
from ingest.parse.isolation import cut_network
from ingest.parse.ocr import Ocr
from ingest.parse.reasons import ParseError, Reason
from ingest.parse.wire import READY, Limits, Order, Parsed, Refused


def main(arguments: list[str]) -> None:
    memory, seconds, max_file, ocr_seconds = arguments
    limits = Limits(float(seconds), int(memory), int(max_file), float(ocr_seconds))
    replies = _take_over_stdout()
    cut_network()
    _limit_process(limits)
    os.write(replies, READY)
    for line in sys.stdin:
        _limit_time(limits.seconds)
        reply = handle(Order(**json.loads(line)), limits)
        # Waiting for the next order may take longer than any file may.
        signal.alarm(0)
        _send(replies, reply)


def handle(order: Order, limits: Limits) -> Parsed | Refused:
    try:
        data = _read(Path(order.path), limits.max_file_bytes)
        ocr = Ocr(partial(_limit_time, limits.ocr_seconds)) if limits.ocr_seconds else None
        return Parsed(hashlib.sha256(data).hexdigest(), parse(data, order.name, ocr))
    except ParseError as error:
        return Refused(error.reason, error.message)
    except MemoryError:
        return Refused(Reason.TOO_LARGE, f"Reading it takes more than {limits.memory_bytes:,} bytes of memory.")


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ParseError(Reason.UNREADABLE, f"The file cannot be opened ({error.strerror}).") from error
    if len(data) > max_bytes:
        raise ParseError(Reason.TOO_LARGE, f"The file is larger than {max_bytes:,} bytes (ingest.max_file_bytes).")
    return data


def _take_over_stdout() -> int:
    """A library that prints must not break the protocol: replies get a descriptor of their own."""
    replies = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return replies


def _limit_process(limits: Limits) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _limit_time(seconds: float) -> None:
    """From now on. CPU limits count from the start of the process, so each file gets what was used and its share."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = usage.ru_utime + usage.ru_stime
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used + seconds) + 1, resource.RLIM_INFINITY))
    signal.alarm(math.ceil(seconds) + 1)


def _send(descriptor: int, reply: Parsed | Refused) -> None:
    line = json.dumps(dataclasses.asdict(reply), ensure_ascii=False).encode(errors="replace") + b"\n"
    view = memoryview(line)
    while view:
        view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    main(sys.argv[1:])
