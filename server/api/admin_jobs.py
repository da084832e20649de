"""All fine-tuning jobs, whoever ordered them, for operators."""

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends

from adapters.jobs.book import JobBook
from adapters.jobs.job import Job
from server.api.context import ServicesOf, admin_key_of
from server.api.fine_tuning import JobsOf, checkpoint_row, event_row, job_row
from server.api.paging import After, Limit, listing
from server.keys import KeyStore

MAX_EVENTS = 1_000
router = APIRouter(prefix="/api/jobs", dependencies=[Depends(admin_key_of)])


@router.get("")
async def list_jobs(services: ServicesOf, jobs: JobsOf, after: After = None, limit: Limit = 50) -> dict[str, Any]:
    """The latest first."""
    page = await asyncio.to_thread(jobs.jobs.page, after=after, limit=limit)
    names = await asyncio.to_thread(key_names, services.keys)
    return listing([owned_row(job, names) for job in page.items], page.has_more)


@router.get("/{job_id}")
async def read_job(job_id: str, services: ServicesOf, jobs: JobsOf) -> dict[str, Any]:
    """With its events and checkpoints, the latest first."""
    job = await asyncio.to_thread(jobs.jobs.get, job_id)
    names = await asyncio.to_thread(key_names, services.keys)
    return await asyncio.to_thread(whole_row, job, jobs.jobs, names)


@router.post("/{job_id}/cancel")
async def cancel_job(job_id: str, jobs: JobsOf) -> dict[str, Any]:
    return job_row(await jobs.cancel(job_id))


@router.post("/{job_id}/pause")
async def pause_job(job_id: str, jobs: JobsOf) -> dict[str, Any]:
    return job_row(await jobs.pause(job_id))


@router.post("/{job_id}/resume")
async def resume_job(job_id: str, jobs: JobsOf) -> dict[str, Any]:
    return job_row(await jobs.resume(job_id))


def owned_row(job: Job, names: Mapping[str, str]) -> dict[str, Any]:
    """names: of the keys, by their ids. owner: the name of the key that ordered it."""
    return {**job_row(job), "owner": names.get(job.key_id, job.key_id)}


def whole_row(job: Job, book: JobBook, names: Mapping[str, str]) -> dict[str, Any]:
    best = book.best_epoch(job.job_id)
    checkpoints = book.checkpoints(job.job_id, limit=MAX_EVENTS).items
    return {
        **owned_row(job, names),
        "events": [event_row(event) for event in book.events(job.job_id, limit=MAX_EVENTS).items],
        "checkpoints": [checkpoint_row(item, job, is_best=item.epoch == best) for item in checkpoints],
    }


def key_names(keys: KeyStore) -> dict[str, str]:
    return {key.id: key.name for key in keys.keys()}  # noqa: SIM118 - a method of ours, not a mapping
