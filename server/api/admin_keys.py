"""Keys over the admin API, so that the command line can manage them while the server runs."""

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends

from server.api.context import ServicesOf, admin_key_of
from server.api.schemas.admin import KeyBody
from server.keys import ApiKey

router = APIRouter(prefix="/api/keys", dependencies=[Depends(admin_key_of)])


@router.get("")
async def list_keys(services: ServicesOf) -> dict[str, Any]:
    return {"keys": [_row(key) for key in await asyncio.to_thread(services.keys.keys)]}


@router.post("", status_code=201)
async def create_key(body: KeyBody, services: ServicesOf) -> dict[str, Any]:
    """The answer holds the key itself, this once."""
    new = await asyncio.to_thread(services.keys.create, body.name, body.role, body.brands)
    return {**_row(new.key), "key": new.text}


@router.delete("/{name_or_id}")
async def revoke_key(name_or_id: str, services: ServicesOf) -> dict[str, Any]:
    """Refused from the next request on."""
    return {"revoked": _row(await asyncio.to_thread(services.keys.revoke, name_or_id))}


def _row(key: ApiKey) -> dict[str, Any]:
    return {**asdict(key), "is_revoked": key.is_revoked}
