"""Starting and ending the process of a job."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from adapters.jobs.order import LOG_FILE

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class JobProcess:
    """A running one. What it prints lies in the job's log."""

    job_id: str
    process: asyncio.subprocess.Process

    async def end(self) -> None:
        """At once, with all that it started: what it has written by now is enough to go on from."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()


async def start_process(job_id: str, folder: Path, num_threads: int) -> JobProcess:
    """The order lies in `folder` already. A process group of its own, as Ctrl-C in the server's terminal is the
    server's; but no session of its own, as Linux may share out the processor by session first (autogroup), and being
    nice would then mean nothing. Raises OSError.
    """
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(num_threads))
    command = (sys.executable, "-P", "-m", "server.finetuning.work", str(folder), str(os.getpid()))
    with (folder / LOG_FILE).open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            process_group=0,
        )
    return JobProcess(job_id, process)


def how_it_ended(return_code: int | None) -> str:
    """For people."""
    if return_code is not None and return_code < 0:
        try:
            return f"was ended by {signal.Signals(-return_code).name}"
        except ValueError:
            return f"was ended by signal {-return_code}"
    return f"ended with code {return_code}"
