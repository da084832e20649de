"""Who gets which version, over the admin API: canaries and retirement; and how each one does."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from adapters.gguf_check import check_adapter
from adapters.identity import Identity
from config.errors import BadRequestError
from config.models import file_sha256 as base_file_sha256
from server.api.context import ServicesOf, admin_key_of
from server.api.schemas.admin import CanaryBody, RetireBody, StageBody
from server.drift import drift_tables
from server.services import Services
from server.versions import refuse_canary, refuse_retirement, version_row

DELETION_MARGIN_SECONDS = 5.0
"""Between choosing a version and handing the request to the engine, with a lot to spare."""

router = APIRouter(prefix="/api/adapters", dependencies=[Depends(admin_key_of)])


@router.post("/canary")
async def start_canary(body: CanaryBody, services: ServicesOf) -> dict[str, Any]:
    """From the next request on, beside the active version. Activating the version ends it."""
    version = await asyncio.to_thread(services.registry.get, body.version)
    refuse_canary(services.brands.brands().get(version.brand))
    for name in body.keys:
        await asyncio.to_thread(services.keys.live_key, name)
    canary = await asyncio.to_thread(
        services.registry.start_canary, version.brand, version.version, body.share, body.keys
    )
    return {"name": canary.name, **asdict(canary)}


@router.delete("/canary/{brand}")
async def stop_canary(brand: str, services: ServicesOf) -> dict[str, Any]:
    """Everybody gets the active version again, from the next request on."""
    await asyncio.to_thread(services.registry.stop_canary, brand)
    return {"brand": brand, "canary": None}


@router.post("/stage", status_code=201)
async def stage_version(body: StageBody, services: ServicesOf) -> dict[str, Any]:
    """Registered now, active from the first start with its base on; see `housevoice adapter upgrade`."""
    for name, path in (("path", body.path), ("base", body.base)):
        if not path.is_file():
            raise BadRequestError(f"{path} is no file on the server's machine.", name)
    base_sha256 = await asyncio.to_thread(base_file_sha256, body.base, services.settings.data)
    await asyncio.to_thread(check_adapter, body.path, body.base, base_sha256)
    identity = Identity(base_sha256)
    version = await asyncio.to_thread(
        services.registry.register, body.brand, body.path, body.card or {}, body.rows, identity
    )
    await asyncio.to_thread(services.registry.stage, version.brand, version.version)
    return version_row(version, services.registry)


@router.get("/drift")
async def read_drift(
    services: ServicesOf,
    brand: Annotated[str, Query(max_length=200)] = "",
    days: Annotated[int, Query(ge=1, le=3_650)] = 30,
) -> dict[str, Any]:
    """Form, refusals and citations of each version: at first, lately, and by day."""
    return dict(await asyncio.to_thread(drift_tables, services.drift, brand, days))


@router.post("/retire")
async def retire_version(body: RetireBody, services: ServicesOf) -> dict[str, Any]:
    """Refused from the next request on; running answers end as they began, and then the file may go."""
    version = await asyncio.to_thread(services.registry.get, body.version)
    refuse_retirement(version.name, services.brands.brands().values())
    version = await asyncio.to_thread(
        lambda: services.registry.retire(version.brand, version.version, body.reason, deletes_file=body.delete_file)
    )
    if body.delete_file:
        _delete_later(services)
    return version_row(version, services.registry)


def _delete_later(services: Services) -> None:
    """When the last answer that had chosen the version has ended, at the latest. The next start deletes too."""
    seconds = services.settings.engine.request_timeout_seconds + DELETION_MARGIN_SECONDS
    loop = asyncio.get_running_loop()
    loop.call_later(seconds, loop.run_in_executor, None, services.registry.delete_retired_files)
