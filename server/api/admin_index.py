"""The index as a whole over the admin API: generations, rebuild, rollback, verify, backup.

Long ones answer NDJSON: {"progress": ...} lines, then one {"report": ...} or {"error": ...}.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from server.api.context import ServicesOf, admin_key_of
from server.api.schemas.admin import BackupBody, PruneBody, RebuildBody, RollbackBody, VerifyBody
from server.api.stream import StreamedResponse
from server.index_jobs import IndexJobs
from server.index_work import Work, backing_up, describe, pruning, rebuilding, rolling_back, verifying

router = APIRouter(prefix="/api/index", dependencies=[Depends(admin_key_of)])


@router.get("")
async def list_generations(services: ServicesOf) -> dict[str, Any]:
    """The generations that are kept, and in what the live one is not what the settings ask for."""
    return await asyncio.to_thread(describe, services.generations())


@router.post("/rebuild", response_model=None)
async def rebuild_index(body: RebuildBody, request: Request, services: ServicesOf) -> Response:
    """A new generation by the server's present settings, live as soon as it is verified. Answers go on meanwhile."""
    work = await asyncio.to_thread(
        lambda: rebuilding(services.settings, body.questions, accepts_worse=body.accept_worse)
    )
    return _streamed(request, work)


@router.post("/rollback", response_model=None)
async def roll_index_back(body: RollbackBody, request: Request) -> Response:
    return _streamed(request, rolling_back(body.number))


@router.post("/prune", response_model=None)
async def prune_index(body: PruneBody, request: Request, services: ServicesOf) -> Response:
    return _streamed(request, pruning(services.settings.index.keep if body.keep is None else body.keep))


@router.post("/verify", response_model=None)
async def verify_index(body: VerifyBody, request: Request) -> Response:
    """Every chunk in every place; `repair` mends what can be mended."""
    return _streamed(request, verifying(repair=body.repair))


@router.post("/backup", response_model=None)
async def back_index_up(body: BackupBody, request: Request) -> Response:
    return _streamed(request, backing_up(body.path))


def _streamed(request: Request, work: Work) -> Response:
    jobs: IndexJobs = request.app.state.index_jobs
    return StreamedResponse(_lines(jobs.start(work)), "application/x-ndjson")


async def _lines(events: AsyncGenerator[dict[str, Any], None]) -> AsyncGenerator[bytes, None]:
    async for event in events:
        yield json.dumps(event, ensure_ascii=False).encode() + b"\n"
