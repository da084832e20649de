"""/v1/fine_tuning/jobs: a brand's voice trained through OpenAI's clients. Admin keys, each its own jobs."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from adapters.jobs.job import Checkpoint, Job, JobEvent, JobState
from config.brands import Brand
from config.errors import BadRequestError
from server.api.context import AdminKeyOf, ServicesOf, admin_key_of
from server.api.paging import After, Limit, ends_of, listing, only
from server.api.schemas.fine_tuning import FineTuningBody
from server.finetuning.planning import plan_of
from server.finetuning.runner import TrainingJobs
from server.keys import ApiKey
from server.services import Services
from server.voices import model_not_found

ORGANIZATION = "housevoice"
SHOWN_STATES = {JobState.PAUSED: "queued"}
"""OpenAI's schema has no paused; `housevoice.state` tells it."""

METADATA = "metadata"
router = APIRouter(prefix="/v1/fine_tuning/jobs", dependencies=[Depends(admin_key_of)])


def jobs_of(request: Request) -> TrainingJobs:
    jobs: TrainingJobs = request.app.state.training_jobs
    return jobs


JobsOf = Annotated[TrainingJobs, Depends(jobs_of)]


@router.post("")
async def create_job(body: FineTuningBody, services: ServicesOf, jobs: JobsOf, key: AdminKeyOf) -> dict[str, Any]:
    """Queued behind those that wait already; one trains at a time."""
    brand, wish = _brand(body.model, services, key), body.wish
    training = await asyncio.to_thread(jobs.files.get, wish.training_file, key.id, "training_file")
    validation = None
    if wish.validation_file is not None:
        validation = await asyncio.to_thread(jobs.files.get, wish.validation_file, key.id, "validation_file")
    plan = await asyncio.to_thread(plan_of, wish, brand, training, validation, services.settings.training)
    return job_row(await jobs.submit(f"ftjob-{services.new_id()}", key.id, plan))


@router.get("", dependencies=[Depends(only("after", "limit", METADATA, prefix=f"{METADATA}["))])
async def list_jobs(
    request: Request, jobs: JobsOf, key: AdminKeyOf, after: After = None, limit: Limit = 20
) -> dict[str, Any]:
    """The latest first. `metadata[key]=value` filters; `metadata=null` finds those without any."""
    wanted, without = _metadata_filter(request.query_params)
    page = await asyncio.to_thread(
        jobs.jobs.page, key.id, after=after, limit=limit, metadata=wanted, without_metadata=without
    )
    return listing([job_row(job) for job in page.items], page.has_more)


@router.get("/{job_id}")
async def read_job(job_id: str, jobs: JobsOf, key: AdminKeyOf) -> dict[str, Any]:
    return job_row(await asyncio.to_thread(jobs.jobs.get, job_id, key.id))


@router.post("/{job_id}/cancel")
async def cancel_job(job_id: str, jobs: JobsOf, key: AdminKeyOf) -> dict[str, Any]:
    return job_row(await jobs.cancel(job_id, key.id))


@router.post("/{job_id}/pause")
async def pause_job(job_id: str, jobs: JobsOf, key: AdminKeyOf) -> dict[str, Any]:
    """Its process ends; what it has learned so far is kept. The next job in the queue trains meanwhile."""
    return job_row(await jobs.pause(job_id, key.id))


@router.post("/{job_id}/resume")
async def resume_job(job_id: str, jobs: JobsOf, key: AdminKeyOf) -> dict[str, Any]:
    return job_row(await jobs.resume(job_id, key.id))


@router.get("/{job_id}/events", dependencies=[Depends(only("after", "limit"))])
async def list_events(
    job_id: str, jobs: JobsOf, key: AdminKeyOf, after: After = None, limit: Limit = 20
) -> dict[str, Any]:
    """The latest first."""
    job = await asyncio.to_thread(jobs.jobs.get, job_id, key.id)
    number = None if after is None else _number_of(after, f"ftevent-{_stem(job)}-")
    page = await asyncio.to_thread(jobs.jobs.events, job_id, after=number, limit=limit)
    return listing([event_row(event) for event in page.items], page.has_more)


@router.get("/{job_id}/checkpoints", dependencies=[Depends(only("after", "limit"))])
async def list_checkpoints(
    job_id: str, jobs: JobsOf, key: AdminKeyOf, after: After = None, limit: Limit = 10
) -> dict[str, Any]:
    """The end of each epoch, the latest first. The best one becomes the brand's new version."""
    job = await asyncio.to_thread(jobs.jobs.get, job_id, key.id)
    number = None if after is None else _number_of(after, f"ftckpt-{_stem(job)}-")
    page = await asyncio.to_thread(jobs.jobs.checkpoints, job_id, after=number, limit=limit)
    best = await asyncio.to_thread(jobs.jobs.best_epoch, job_id)
    rows = [checkpoint_row(item, job, is_best=item.epoch == best) for item in page.items]
    return listing(rows, page.has_more, **ends_of(rows, empty=None))


def job_row(job: Job) -> dict[str, Any]:
    plan = job.plan
    hyperparameters = {
        "n_epochs": plan.recipe.num_epochs,
        "batch_size": plan.recipe.batch_rows,
        "learning_rate_multiplier": plan.learning_rate_multiplier,
    }
    fault = job.fault
    return {
        "id": job.job_id,
        "object": "fine_tuning.job",
        "created_at": job.created_unix_seconds,
        "finished_at": job.finished_unix_seconds,
        "estimated_finish": job.expected_unix_seconds,
        "model": plan.brand,
        "fine_tuned_model": job.version or None,
        "organization_id": ORGANIZATION,
        "status": SHOWN_STATES.get(job.state, str(job.state)),
        "error": {"code": fault.code, "message": fault.message, "param": fault.param} if fault else None,
        "training_file": plan.training_file,
        "validation_file": plan.validation_file,
        "result_files": [job.result_file] if job.result_file else [],
        "hyperparameters": hyperparameters,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "seed": plan.recipe.seed,
        "trained_tokens": job.num_tokens,
        "integrations": [],
        "metadata": plan.metadata,
        "housevoice": {
            "state": job.state,
            "suffix": plan.suffix,
            "started_at": job.started_unix_seconds,
            "num_rows": plan.num_rows,
            "num_validation_rows": plan.num_validation_rows,
        },
    }


def event_row(event: JobEvent) -> dict[str, Any]:
    return {
        "id": f"ftevent-{event.job_id.partition('-')[2]}-{event.number}",
        "object": "fine_tuning.job.event",
        "created_at": event.unix_seconds,
        "level": event.level,
        "message": event.message,
        "type": "message" if event.metrics is None else "metrics",
        "data": dict(event.metrics or {}),
    }


def checkpoint_row(checkpoint: Checkpoint, job: Job, *, is_best: bool) -> dict[str, Any]:
    """A checkpoint that is not the best is a step on the way: it has a name, but cannot be asked."""
    losses = {"train_loss": checkpoint.training_loss, "valid_loss": checkpoint.validation_loss}
    losses |= {"full_valid_loss": checkpoint.validation_loss}
    name = job.version if is_best and job.version else f"{job.plan.brand}:ckpt-step-{checkpoint.step}"
    return {
        "id": f"ftckpt-{_stem(job)}-{checkpoint.epoch}",
        "object": "fine_tuning.job.checkpoint",
        "created_at": checkpoint.unix_seconds,
        "fine_tuning_job_id": job.job_id,
        "fine_tuned_model_checkpoint": name,
        "step_number": checkpoint.step,
        "metrics": {"step": checkpoint.step, **{key: value for key, value in losses.items() if value is not None}},
    }


def _brand(model: str, services: Services, key: ApiKey) -> Brand:
    """Raises NotFoundError for what is no brand of this key, BadRequestError for a model that is not a brand."""
    name, _, version = model.partition("@")
    brand = services.brands.brands().get(name)
    if not key.may_use(name) or (brand is None and name != services.base.name):
        raise model_not_found(model)
    if brand is None:
        raise BadRequestError(
            f"{model} is the base; an adapter is trained for a brand.", "model", hint="Name one of GET /v1/models."
        )
    if version:
        raise BadRequestError(
            f"{model} is a version; training starts from the base.",
            "model",
            hint=f"Send {name}; start_from in training.recipe goes on from an adapter.",
        )
    return brand


def _metadata_filter(query: Mapping[str, str]) -> tuple[dict[str, str], bool]:
    """(what a job's metadata must hold, whether it must have none)."""
    plain = query.get(METADATA)
    if plain not in (None, "", "null"):
        raise BadRequestError("Filter with metadata[key]=value, or metadata=null.", METADATA)
    wanted = {}
    for name, value in query.items():
        if name.startswith(f"{METADATA}["):
            if not name.endswith("]"):
                raise BadRequestError(f"Unknown parameter: {name}.", name, "unknown_parameter")
            wanted[name[len(METADATA) + 1 : -1]] = value
    return wanted, plain is not None


def _stem(job: Job) -> str:
    return job.job_id.partition("-")[2]


def _number_of(cursor: str, prefix: str) -> int:
    """Raises BadRequestError for an id that is none of this job's."""
    number = cursor.removeprefix(prefix)
    if number == cursor or not number.isdecimal() or len(number) > 9:
        raise BadRequestError(f"There is no {cursor!r} to go on after.", "after")
    return int(number)
