"""GET /v1/models: the base, the brands, and the brands' pinned versions."""

import asyncio
from typing import Any

from fastapi import APIRouter

from server.api.context import KeyOf, ServicesOf
from server.services import Services
from server.voices import Voice, model_not_found

OWNER = "housevoice"
router = APIRouter()


@router.get("/v1/models")
async def list_models(services: ServicesOf, key: KeyOf) -> dict[str, Any]:
    voices = await asyncio.to_thread(services.voices.listed, key)
    return {"object": "list", "data": [card_of(voice, services) for voice in voices]}


@router.get("/v1/models/{model:path}")
async def read_model(model: str, services: ServicesOf, key: KeyOf) -> dict[str, Any]:
    voices = await asyncio.to_thread(services.voices.listed, key)
    for voice in voices:
        if voice.model == model:
            return card_of(voice, services)
    if model == services.embedder_name:
        return {"id": model, "object": "model", "created": services.started_unix_seconds, "owned_by": OWNER}
    raise model_not_found(model)


def card_of(voice: Voice, services: Services) -> dict[str, Any]:
    """parent: the base of a brand; root: the adapter version behind it, or the base itself."""
    base = services.base.name
    adapter = voice.adapter.name if voice.adapter else None
    return {
        "id": voice.model,
        "object": "model",
        "created": voice.created_unix_seconds or services.started_unix_seconds,
        "owned_by": OWNER,
        "parent": None if voice.is_base else base,
        "root": adapter or base,
        "name": voice.brand.title or voice.model,
        "description": voice.brand.description,
    }
