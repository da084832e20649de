"""Who may read: rules over the admin API. Those of folders and documents stand in files."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from config.errors import BadRequestError
from ingest.access.pick import Choice, pick_rules
from server.api.context import ServicesOf, admin_key_of
from server.api.schemas.admin import GroupsBody, KnowledgeBaseName

Text = Annotated[str, Query(max_length=4_096)]
router = APIRouter(prefix="/api/access", dependencies=[Depends(admin_key_of)])


@router.get("")
async def list_rules(
    services: ServicesOf, knowledge_base: Annotated[str, Query(max_length=200)] = ""
) -> dict[str, Any]:
    """All rules; `problem` says why one is no longer what a file states."""
    store = services.ready_facts().store
    rules = await asyncio.to_thread(store.access_rules, knowledge_base or None)
    return {"rules": [asdict(rule) for rule in rules]}


@router.put("/{knowledge_base}")
async def restrict_knowledge_base(
    knowledge_base: KnowledgeBaseName, body: GroupsBody, services: ServicesOf
) -> dict[str, Any]:
    """Only these groups may read it, from the next query on."""
    store = services.ready_facts().store
    await asyncio.to_thread(store.restrict, knowledge_base, tuple(sorted(set(body.groups))))
    return await list_rules(services, knowledge_base)


@router.delete("/{knowledge_base}")
async def clear_rules(
    knowledge_base: KnowledgeBaseName,
    services: ServicesOf,
    folder: Text = "",
    document: Text = "",
    stale: bool = False,
) -> dict[str, Any]:
    """Lift the knowledge base's rule, or that of a folder or document, or all `stale` ones that no file states now."""
    if sum(map(bool, (folder, document, stale))) > 1:
        raise BadRequestError("folder, document and stale exclude each other.", "folder", hint="Name one of them.")
    store = services.ready_facts().store
    known = await asyncio.to_thread(store.access_rules, knowledge_base)
    chosen = pick_rules(known, Choice(knowledge_base, folder, document, stale))
    await asyncio.to_thread(store.clear_access, chosen)
    return {"cleared": [asdict(rule) for rule in chosen]}
