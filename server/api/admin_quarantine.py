"""Take a document out at once, and keep it out. Admin keys only."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from server.api.context import ServicesOf, admin_key_of
from server.api.schemas.admin import QuarantineBody

Name = Annotated[str, Query(max_length=200)]
Path = Annotated[str, Query(max_length=4_096)]
router = APIRouter(prefix="/api/quarantine", dependencies=[Depends(admin_key_of)])


@router.get("")
async def list_quarantine(services: ServicesOf, knowledge_base: Name = "") -> dict[str, Any]:
    store = services.ready_facts().store
    held = await asyncio.to_thread(store.quarantined, knowledge_base or None)
    return {"quarantined": [asdict(item) for item in held]}


@router.post("", status_code=201)
async def quarantine_document(body: QuarantineBody, services: ServicesOf) -> dict[str, Any]:
    """Not found by the next query, cached prompts included; a run that goes on does not bring it back."""
    store = services.ready_facts().store
    held = await asyncio.to_thread(store.quarantine, body.knowledge_base, body.path, body.note)
    await services.engine.drop_prefixes()
    return asdict(held)


@router.delete("")
async def lift_quarantine(services: ServicesOf, document: Path, knowledge_base: Name = "company") -> dict[str, Any]:
    """The next ingest of its folder takes it in again."""
    store = services.ready_facts().store
    await asyncio.to_thread(store.lift_quarantine, knowledge_base, document)
    return {"lifted": document}
