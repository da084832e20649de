"""Adapters over the admin API: list, register a trained one, activate, go back to the base."""

import asyncio
from typing import Any

from fastapi import APIRouter, Depends

from adapters.evaluation.scores import keep_scores
from adapters.registry import AdapterVersion
from config.errors import BadRequestError
from server.api.context import ServicesOf, admin_key_of
from server.api.schemas.admin import ActivateBody, AdapterBody, RollBackAdapterBody, ScoresBody
from server.bringing import checked_file
from server.registering import register_checked
from server.services import Services
from server.versions import version_row

router = APIRouter(prefix="/api/adapters", dependencies=[Depends(admin_key_of)])


@router.get("")
async def list_adapters(services: ServicesOf, brand: str = "") -> dict[str, Any]:
    versions = await asyncio.to_thread(services.registry.versions, brand or None)
    canaries = await asyncio.to_thread(services.registry.canaries)
    return {"adapters": [version_row(version, services.registry, canaries.get(version.brand)) for version in versions]}


@router.post("", status_code=201)
async def register_adapter(body: AdapterBody, services: ServicesOf) -> dict[str, Any]:
    """Checked twice before it counts: the file by itself, then four tokens in a process that may die of it."""
    async with checked_file(body.path, body.brand, services.base) as (path, origin):
        version = await register_checked(services, body.brand, path, body.card or origin, body.rows)
    if body.activate:
        version = await _activate(version.name, services)
    return version_row(version, services.registry)


@router.post("/activate")
async def activate_adapter(body: ActivateBody, services: ServicesOf) -> dict[str, Any]:
    """From the next request on; running answers end with the version they began with."""
    if body.version:
        return version_row(await _activate(body.version, services), services.registry)
    if not body.brand:
        raise BadRequestError("Send version (brand@number), or brand to go back to the base.", "version")
    await asyncio.to_thread(services.registry.deactivate, body.brand)
    return {"brand": body.brand, "active": None}


@router.post("/rollback")
async def roll_back_adapter(body: RollBackAdapterBody, services: ServicesOf) -> dict[str, Any]:
    """To what was in use before, from the next request on; once more goes further back."""
    version = await asyncio.to_thread(services.registry.roll_back, body.brand)
    return {"brand": body.brand, "active": version.name if version else None}


@router.post("/{name}/scores", status_code=201)
async def add_scores(name: str, body: ScoresBody, services: ServicesOf) -> dict[str, Any]:
    """What an evaluation found of a version; kept beside its card, which stays as it is."""
    version = await asyncio.to_thread(services.registry.get, name)
    await asyncio.to_thread(keep_scores, version.path.parent, body.scores)
    return version_row(version, services.registry)


async def _activate(name: str, services: Services) -> AdapterVersion:
    version = await asyncio.to_thread(services.registry.get, name)
    return await asyncio.to_thread(services.registry.activate, version.brand, version.version)
