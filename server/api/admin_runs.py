"""Runs of ingest: the one that goes on, those that ended, and their reports."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from ingest.runs import Run
from server.api.context import ServicesOf, admin_key_of

router = APIRouter(prefix="/api/ingest/runs", dependencies=[Depends(admin_key_of)])


@router.get("")
async def list_runs(services: ServicesOf, limit: Annotated[int, Query(ge=1, le=1_000)] = 20) -> dict[str, Any]:
    """The latest first. Failures are counted; a single run lists them."""
    runs = await asyncio.to_thread(services.ready_facts().store.runs, limit)
    return {"runs": [run_row(run) for run in runs]}


@router.get("/{run_id}")
async def read_run(run_id: str, services: ServicesOf) -> dict[str, Any]:
    return run_row(await asyncio.to_thread(services.ready_facts().store.run, run_id))


def run_row(run: Run) -> dict[str, Any]:
    return {**asdict(run), "summary": run.report.summary if run.report else ""}
