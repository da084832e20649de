"""The process of one job: `python -P -m server.finetuning.work FOLDER PARENT`. It trains, tells, and ends.

It gives way to everything else on the machine, ends with its parent, and may be killed at any time: started again on
the same folder it goes on, as far as training can.
"""

import fcntl
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import psutil

from adapters.jobs.job import Fault, Said
from adapters.jobs.order import (
    LOCK_FILE,
    NEWS_FILE,
    OUTPUT_FOLDER,
    TRAINING_ROWS,
    VALIDATION_ROWS,
    Made,
    News,
    Order,
    news_line,
    read_made,
    read_order,
    write_made,
)
from adapters.training.progress import Progress, TrainingEvent
from config.environment import prepare_environment
from config.errors import BadRequestError, HousevoiceError

if TYPE_CHECKING:
    from adapters.make import MadeAdapter
    from server.proof import Proof

PARENT_CHECK_SECONDS = 1.0
MAX_STEPS_TOLD = 200
OOM_SCORE = "500"
"""Of a thousand: where memory runs out, Linux ends the training and not the server."""

FAILED = 1


def main() -> int:
    folder, parent = Path(sys.argv[1]), int(sys.argv[2])
    prepare_environment()
    _stay_private()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    order = read_order(folder)
    _give_way(order.niceness)
    with _alone(folder), _open_news(folder) as file:
        return _Work(folder, order, file).run()


class _Work:
    def __init__(self, folder: Path, order: Order, news: BinaryIO) -> None:
        self._folder = folder
        self._order = order
        self._news = news

    def run(self) -> int:
        """The exit code: 0 where an adapter was made, 1 where the reason why not was told."""
        try:
            made = read_made(self._folder) or self._make()
        except Exception as error:  # noqa: BLE001  the edge of this process: it goes to the log and to the server
            traceback.print_exc()
            self._tell(_fault_of(error))
            return FAILED
        self._tell(made)
        return 0

    def _make(self) -> Made:
        from adapters.make import GGUF_FILE, TrainingInput, make_adapter

        order, folder = self._order, self._folder
        validation = folder / VALIDATION_ROWS if order.has_validation else None
        given = TrainingInput(order.brand, order.instructions, folder / TRAINING_ROWS, validation)
        result = make_adapter(order.base, given, order.recipe, folder / OUTPUT_FOLDER, self._on_progress)
        training = result.training
        card = {**result.card, "proof": asdict(self._prove(result))}
        made = Made(f"{OUTPUT_FOLDER}/{GGUF_FILE}", card, training.num_tokens, training.best_epoch)
        write_made(folder, made)
        return made

    def _prove(self, made: "MadeAdapter") -> "Proof":
        """That llama.cpp computes what was trained. Raises BadRequestError with the figure that says otherwise."""
        from server.proof import proof_prompts, prove

        base = self._order.base.path
        proof = prove(base, made.gguf, made.training.adapter, proof_prompts(base, self._order.instructions))
        self._tell(Said(f"Proved: {proof}."))
        return proof

    def _on_progress(self, event: TrainingEvent) -> None:
        """Not each of ten thousand steps, but always the last."""
        if isinstance(event, Progress):
            stride = -(-event.num_steps // MAX_STEPS_TOLD)
            if event.step % stride and event.step != event.num_steps:
                return
        self._tell(event)

    def _tell(self, news: News) -> None:
        self._news.write(news_line(news))
        self._news.flush()


def _fault_of(error: Exception) -> Fault:
    """For whoever ordered the job. What is not meant for people stays in the log."""
    if isinstance(error, BadRequestError):
        return Fault(error.code, str(error), error.param)
    if isinstance(error, HousevoiceError):
        return Fault("server_error", str(error))
    if isinstance(error, MemoryError):
        return Fault("out_of_memory", "The machine has not enough memory for this training. Use a smaller batch_size.")
    return Fault("internal", f"Training met an error of its own ({type(error).__name__}); its log has details.")


def _stay_private() -> None:
    """Rows of a training set end up in no core file, and in no file that others may read."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_with(parent: int) -> None:
    """The server that started this process reads its news; without it nobody does, and the next one starts another."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)  # with what proves the adapter
    os._exit(FAILED)


def _give_way(niceness: int) -> None:
    process = psutil.Process()
    process.nice(max(niceness, process.nice()))
    if sys.platform == "linux":
        process.ionice(psutil.IOPRIO_CLASS_IDLE)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(OOM_SCORE, encoding="ascii")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for the end of an earlier process of this job, which may not have noticed yet that its server is gone."""
    with (folder / LOCK_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _open_news(folder: Path) -> Iterator[BinaryIO]:
    """At its end, behind the line that a kill may have cut off."""
    with (folder / NEWS_FILE).open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        yield file


if __name__ == "__main__":
    sys.exit(main())
