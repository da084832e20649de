"""Keys over the admin API, so that the command line can manage them while the server runs."""

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends

from server.api.context import ServicesOf, admin_key_of
from server.api.schemas.admin import GroupsBody, KeyBody
from server.keys import ApiKey

router = APIRouter(prefix="/api/keys", dependencies=[Depends(admin_key_of)])


@router.get("")
async def list_keys(services: ServicesOf) -> dict[str, Any]:
    return {"keys": [_row(key) for key in await asyncio.to_thread(services.keys.keys)]}


@router.post("", status_code=201)
async def create_key(body: KeyBody, services: ServicesOf) -> dict[str, Any]:
    """The answer holds the key itself, this once."""
    new = await asyncio.to_thread(services.keys.create, body.name, body.role, body.brands, body.groups)
    return {**_row(new.key), "key": new.text}


@router.delete("/{name_or_id}")
async def revoke_key(name_or_id: str, services: ServicesOf) -> dict[str, Any]:
    """Refused from the next request on."""
    return {"revoked": _row(await asyncio.to_thread(services.keys.revoke, name_or_id))}


@router.post("/{name_or_id}/groups")
async def grant_groups(name_or_id: str, body: GroupsBody, services: ServicesOf) -> dict[str, Any]:
    """In force from the key's next request on."""
    return _row(await asyncio.to_thread(services.keys.grant, name_or_id, body.groups))


@router.delete("/{name_or_id}/groups/{group}")
async def revoke_group(name_or_id: str, group: str, services: ServicesOf) -> dict[str, Any]:
    """In force from the key's next request on."""
    return _row(await asyncio.to_thread(services.keys.revoke_group, name_or_id, group))


def _row(key: ApiKey) -> dict[str, Any]:
    return {**asdict(key), "is_revoked": key.is_revoked}
