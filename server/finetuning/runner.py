"""The queue of fine-tuning jobs, and the one that trains. Used from the event loop only.

A job's process tells what it does in a file; this side reads it, and decides what becomes of the job when the process
has ended. A decision stands in the database before anything follows from it, so a server that is killed at any time
finds its jobs again: the one that was running is queued and goes on where it was.
"""

import asyncio
import json
import logging
from dataclasses import asdict

from adapters.jobs.book import JobBook
from adapters.jobs.files import FileBook
from adapters.jobs.folders import JobFolders
from adapters.jobs.job import ENDED, OPEN, Fault, Job, JobState, Plan, Said
from adapters.jobs.order import TRAINING_ROWS, VALIDATION_ROWS, Made, Order, read_news, write_order
from config.errors import BadRequestError, HousevoiceError, OverloadedError
from server.failures import failure_of
from server.finetuning.metrics import JobMetrics
from server.finetuning.process import JobProcess, how_it_ended, start_process
from server.finetuning.results import add_results
from server.finetuning.telling import created, telling_of
from server.registering import register_checked
from server.services import Services

FOLLOW_SECONDS = 0.5
AFTER_ERROR_SECONDS = 5.0
MAX_DEATHS = 3
"""A process that ends so often without a word, and without a finished epoch between, is not started again."""

logger = logging.getLogger(__name__)


class TrainingJobs:
    """`files` and `jobs` may be read by anybody; jobs change by the methods here."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings.training
        root = services.settings.data.training
        self.files = FileBook(services.training, root / "files", services.clock)
        self.jobs = JobBook(services.training, services.clock)
        self._folders = JobFolders(root / "jobs")
        self._deciding = asyncio.Lock()
        self._wake = asyncio.Event()
        self._process: JobProcess | None = None
        self._loop: asyncio.Task[None] | None = None
        self._recover()
        services.metrics.registry.register(JobMetrics(self.jobs.counts))

    def start(self) -> None:
        """Train what is queued, and what is ordered from now on. The engine must run: it tries new adapters."""
        self._loop = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the process, not the job: it goes on when a server starts again."""
        async with self._deciding:
            process = self._process  # it may end by itself meanwhile
            if process is not None:
                said = Said("The server stops. The job goes on when it starts again.")
                await self._move(process.job_id, (JobState.RUNNING,), JobState.QUEUED, said)
                await process.end()
            if self._loop is not None:
                self._loop.cancel()
        if self._loop is not None:
            await asyncio.gather(self._loop, return_exceptions=True)

    async def submit(self, job_id: str, key_id: str, plan: Plan) -> Job:
        """At the end of the queue. Raises OverloadedError where too many wait, NotFoundError for a missing file."""
        job = Job(job_id, key_id, JobState.QUEUED, plan, self._services.clock())
        async with self._deciding:
            counts = await asyncio.to_thread(self.jobs.counts)
            if counts[JobState.QUEUED] + counts[JobState.RUNNING] > self._settings.max_queued:
                raise OverloadedError(f"{counts[JobState.QUEUED]} fine-tuning jobs wait already.", 60)
            await asyncio.to_thread(self._add, job)
        self._wake.set()
        return job

    async def cancel(self, job_id: str, key_id: str | None = None) -> Job:
        """For good. Raises NotFoundError, and BadRequestError for a job that has ended."""
        return await self._interrupt(job_id, key_id, OPEN, JobState.CANCELLED, Said("Cancelled."))

    async def pause(self, job_id: str, key_id: str | None = None) -> Job:
        """Until it is resumed. Raises NotFoundError, and BadRequestError for a job that does not wait or run."""
        return await self._interrupt(
            job_id, key_id, (JobState.QUEUED, JobState.RUNNING), JobState.PAUSED, Said("Paused; resume goes on here.")
        )

    async def resume(self, job_id: str, key_id: str | None = None) -> Job:
        """Raises NotFoundError, and BadRequestError for a job that is not paused."""
        job = await asyncio.to_thread(self.jobs.get, job_id, key_id)
        if not await self._move(job_id, (JobState.PAUSED,), JobState.QUEUED, Said("Resumed; it waits for its turn.")):
            raise _wrong_state(job, "resumed")
        self._wake.set()
        return await asyncio.to_thread(self.jobs.get, job_id)

    async def _interrupt(
        self, job_id: str, key_id: str | None, sources: tuple[JobState, ...], target: JobState, said: Said
    ) -> Job:
        async with self._deciding:
            job = await asyncio.to_thread(self.jobs.get, job_id, key_id)
            if not await self._move(job_id, sources, target, said):
                raise _wrong_state(job, target)
            process = self._process
            if process is not None and process.job_id == job_id:
                await process.end()
            if target in ENDED:
                await asyncio.to_thread(self._folders.clear, job_id)
        return await asyncio.to_thread(self.jobs.get, job_id)

    def _add(self, job: Job) -> None:
        plan = job.plan
        training = self.files.get(plan.training_file, job.key_id, "training_file")
        validation = (
            self.files.get(plan.validation_file, job.key_id, "validation_file") if plan.validation_file else None
        )
        self._folders.create(job.job_id, self.files.path(training), self.files.path(validation) if validation else None)
        self.jobs.add(job, created(plan, training, validation))

    def _recover(self) -> None:
        """What a server that was killed left behind."""
        self.files.sweep()
        self._folders.sweep(self.jobs.ids())
        for job in self.jobs.in_state(JobState.RUNNING):
            self._note_death(job, "The server was ended without warning while this job ran")

    async def _run(self) -> None:
        """Until it is cancelled. An error of ours fails the job that it concerns, never the queue."""
        while True:
            self._wake.clear()
            job = await asyncio.to_thread(self.jobs.next_queued)
            if job is None:
                await self._wake.wait()
                continue
            try:
                await self._train(job)
            except Exception as error:  # noqa: BLE001  the edge of the queue: it is logged there
                await self._after_error(job, error)

    async def _after_error(self, job: Job, error: Exception) -> None:
        """A full disk, say. Where not even that can be noted, the next start finds the job running and goes on."""
        logger.error("The fine-tuning job %s met an error", job.job_id, exc_info=error)
        try:
            await self._fail(job, _fault_of(error))
        except Exception:
            logger.exception("The end of the fine-tuning job %s could not be noted", job.job_id)
        await asyncio.sleep(AFTER_ERROR_SECONDS)

    async def _train(self, job: Job) -> None:
        fault = self._hindrance(job)
        if fault is not None:
            await self._fail(job, fault)
            return
        async with self._deciding:
            if not await self._begin(job):
                return
        process = self._process
        assert process is not None
        try:
            ending = await self._follow(process)
        finally:
            await process.end()
            self._process = None
        async with self._deciding:
            await self._settle(job.job_id, ending, process.process.returncode)

    def _hindrance(self, job: Job) -> Fault | None:
        """Why it cannot be trained, or go on, in this server."""
        base = self._services.base
        if job.base_sha256 not in ("", base.sha256):
            return Fault(
                "base_changed",
                f"This job began on another base than {base.name}, which is served now. Create it again.",
            )
        if not (self._folders.path(job.job_id) / TRAINING_ROWS).is_file():
            return Fault("file_missing", "The job's rows are not in the data directory any more. Upload them again.")
        return None

    async def _begin(self, job: Job) -> bool:
        """False where it was cancelled or paused meanwhile."""
        text = "Training goes on." if job.started_unix_seconds else "Training begins."
        changes: dict[str, str | int | None] = {"base_sha256": self._services.base.sha256}
        if job.started_unix_seconds is None:
            changes["started_unix_seconds"] = self._services.clock()
        if not await self._move(job.job_id, (JobState.QUEUED,), JobState.RUNNING, Said(text), **changes):
            return False
        plan, folder = job.plan, self._folders.path(job.job_id)
        order = Order(
            brand=plan.brand,
            instructions=plan.instructions,
            base=self._services.base,
            recipe=plan.recipe,
            has_validation=plan.validation_file is not None,
            niceness=self._settings.niceness,
        )
        await asyncio.to_thread(write_order, folder, order)
        self._process = await start_process(job.job_id, folder, max(1, plan.recipe.threads))
        return True

    async def _follow(self, process: JobProcess) -> Made | Fault | None:
        """Note what the process tells until it has ended; its last word, None where it was killed."""
        waiting = asyncio.create_task(process.process.wait())
        ending: Made | Fault | None = None
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=FOLLOW_SECONDS)
            ending = await asyncio.to_thread(self._note_news, process.job_id) or ending
        return await asyncio.to_thread(self._note_news, process.job_id) or ending

    def _note_news(self, job_id: str) -> Made | Fault | None:
        job = self.jobs.get(job_id)
        told, offset = read_news(self._folders.path(job_id), job.news_offset)
        if not told:
            return None
        telling = telling_of(job, told)
        self.jobs.tell(
            job_id,
            telling.said,
            telling.checkpoints,
            news_offset=offset,
            expected_unix_seconds=telling.expected_unix_seconds,
        )
        return telling.ending

    async def _settle(self, job_id: str, ending: Made | Fault | None, return_code: int | None) -> None:
        """The process has ended. One that was cancelled, paused or stopped has been dealt with by whoever did it."""
        job = await asyncio.to_thread(self.jobs.get, job_id)
        if job.state is not JobState.RUNNING:
            if job.state in ENDED:
                await asyncio.to_thread(self._folders.clear, job_id)
        elif isinstance(ending, Made):
            await self._register(job, ending)
        elif isinstance(ending, Fault):
            await self._fail(job, ending)
        else:
            await asyncio.to_thread(self._note_death, job, f"The training process {how_it_ended(return_code)}")

    async def _register(self, job: Job, made: Made) -> None:
        """Nothing that fails here takes the brand's active version away."""
        folder = self._folders.path(job.job_id)
        card = {**made.card, "job": job.job_id} | ({"suffix": job.plan.suffix} if job.plan.suffix else {})
        rows = [path for path in (folder / TRAINING_ROWS, folder / VALIDATION_ROWS) if path.is_file()]
        try:
            version = await register_checked(self._services, job.plan.brand, folder / made.gguf, card, rows)
        except HousevoiceError as error:
            await self._fail(job, _fault_of(error))
            return
        now = self._services.clock()
        result_file = await asyncio.to_thread(add_results, job, folder, self.jobs, self.files, now)
        said = Said(
            f"{version.name} is registered (epoch {made.best_epoch} was the best), and not active yet. Use it:"
            f" housevoice adapter activate {version.name}"
        )
        await self._move(
            *(job.job_id, (JobState.RUNNING,), JobState.SUCCEEDED, said),
            version=version.name,
            num_tokens=made.num_tokens,
            result_file=result_file,
        )
        await asyncio.to_thread(self._folders.clear, job.job_id)

    def _note_death(self, job: Job, what: str) -> None:
        """Once more, unless it dies again and again."""
        num_deaths = job.num_deaths + 1
        if num_deaths >= MAX_DEATHS:
            fault = Fault("process_killed", f"{what}. That was {num_deaths} times in a row: is there enough memory?")
            self._set_failed(job, fault, num_deaths=num_deaths)
            return
        said = Said(f"{what}. It is started again and goes on where it was ({num_deaths} of {MAX_DEATHS}).", "warn")
        self.jobs.move(job.job_id, (JobState.RUNNING,), JobState.QUEUED, said, num_deaths=num_deaths)

    async def _fail(self, job: Job, fault: Fault) -> None:
        await asyncio.to_thread(self._set_failed, job, fault)

    def _set_failed(self, job: Job, fault: Fault, **changes: str | int | None) -> None:
        text = json.dumps(asdict(fault), ensure_ascii=False)
        said = Said(f"Failed: {fault.message}", "error")
        if self.jobs.move(job.job_id, OPEN, JobState.FAILED, said, fault=text, **changes):
            self._folders.clear(job.job_id)

    async def _move(
        self,
        job_id: str,
        sources: tuple[JobState, ...],
        target: JobState,
        said: Said,
        **changes: str | int | None,
    ) -> bool:
        return await asyncio.to_thread(lambda: self.jobs.move(job_id, sources, target, said, **changes))


def _wrong_state(job: Job, what: str) -> BadRequestError:
    return BadRequestError(f"The job {job.job_id} is {job.state} and cannot be {what}.", code="invalid_state")


def _fault_of(error: Exception) -> Fault:
    """As the API would tell it."""
    failure = failure_of(error)
    return Fault(failure.code, failure.message, failure.param)
