"""Adapters over the admin API: list, register a trained one, activate, go back to the base."""

import asyncio
from typing import Any

from fastapi import APIRouter, Depends

from adapters.gguf_check import check_adapter
from adapters.registry import AdapterVersion, file_sha256
from config.errors import BadRequestError
from server.api.context import ServicesOf, admin_key_of
from server.api.schemas.admin import ActivateBody, AdapterBody, RollBackAdapterBody
from server.engine.messages import AdapterRef
from server.services import Services

router = APIRouter(prefix="/api/adapters", dependencies=[Depends(admin_key_of)])


@router.get("")
async def list_adapters(services: ServicesOf, brand: str = "") -> dict[str, Any]:
    versions = await asyncio.to_thread(services.registry.versions, brand or None)
    return {"adapters": [_row(version) for version in versions]}


@router.post("", status_code=201)
async def register_adapter(body: AdapterBody, services: ServicesOf) -> dict[str, Any]:
    """Checked twice before it counts: the file by itself, then four tokens in a process that may die of it."""
    if not body.path.is_file():
        raise BadRequestError(f"{body.path} is no file on the server's machine.", "path")
    await asyncio.to_thread(check_adapter, body.path, services.base.path, services.base.sha256)
    sha256 = await asyncio.to_thread(file_sha256, body.path)
    await services.engine.check_adapter(AdapterRef(body.path.name, body.path.absolute(), sha256))
    version = await asyncio.to_thread(services.registry.register, body.brand, body.path, body.card or {})
    if body.activate:
        version = await _activate(version.name, services)
    return _row(version)


@router.post("/activate")
async def activate_adapter(body: ActivateBody, services: ServicesOf) -> dict[str, Any]:
    """From the next request on; running answers end with the version they began with."""
    if body.version:
        return _row(await _activate(body.version, services))
    if not body.brand:
        raise BadRequestError("Send version (brand@number), or brand to go back to the base.", "version")
    await asyncio.to_thread(services.registry.deactivate, body.brand)
    return {"brand": body.brand, "active": None}


@router.post("/rollback")
async def roll_back_adapter(body: RollBackAdapterBody, services: ServicesOf) -> dict[str, Any]:
    """To what was in use before, from the next request on; once more goes further back."""
    version = await asyncio.to_thread(services.registry.roll_back, body.brand)
    return {"brand": body.brand, "active": version.name if version else None}


async def _activate(name: str, services: Services) -> AdapterVersion:
    version = await asyncio.to_thread(services.registry.get, name)
    return await asyncio.to_thread(services.registry.activate, version.brand, version.version)


def _row(version: AdapterVersion) -> dict[str, Any]:
    return {
        "name": version.name,
        "brand": version.brand,
        "version": version.version,
        "is_active": version.is_active,
        "sha256": version.sha256,
        "base_sha256": version.base_sha256,
        "prompt_version": version.prompt_version,
        "created_unix_seconds": version.created_unix_seconds,
        "card": dict(version.card),
    }
