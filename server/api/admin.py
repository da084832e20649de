"""What the command line asks of a running server: ingest, search, documents, brands, status. Admin keys only."""

import asyncio
import json
import platform
from collections.abc import AsyncGenerator
from dataclasses import asdict
from importlib import metadata
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from config.prompt import PROMPT_VERSION
from ingest.documents import IngestReport, Progress
from server.api.context import ServicesOf, admin_key_of
from server.api.schemas.admin import IngestBody
from server.api.schemas.retrieval import SearchParameters
from server.api.stream import StreamedResponse
from server.fact_reading import layout_for
from server.failures import failure_of
from server.ingest_order import origin_of
from server.ingest_run import IngestEvent, IngestOrder, IngestRunner

PACKAGES = ("housevoice", "llama-cpp-python", "chromadb", "sentence-transformers", "fastapi", "uvicorn")
Name = Annotated[str, Query(max_length=200)]
router = APIRouter(prefix="/api", dependencies=[Depends(admin_key_of)])


@router.post("/ingest", response_model=None)
async def run_ingest(body: IngestBody, request: Request, services: ServicesOf) -> Response:
    """NDJSON: {"progress": ...} lines, then one {"report": ...} or {"error": ...}."""
    runner: IngestRunner = request.app.state.ingest
    origin = origin_of(body, services.settings)
    events = runner.start(IngestOrder(origin, body.knowledge_base, body.dry_run))
    return StreamedResponse(_lines(events), "application/x-ndjson")


@router.get("/search")
async def search(services: ServicesOf, asked: Annotated[SearchParameters, Query()]) -> dict[str, Any]:
    """What a question retrieves: sources, and all candidates with ranks, scores and verdicts."""
    facts = services.ready_facts()
    named = asked.knowledge_base
    bases = (named,) if named else tuple(await asyncio.to_thread(facts.store.knowledge_bases))
    retrieve = facts.retriever.retrieve
    return asdict(await asyncio.to_thread(retrieve, asked.q, bases, asked.reader, asked.search_filter))


@router.get("/documents")
async def list_documents(services: ServicesOf, knowledge_base: Name = "") -> dict[str, Any]:
    """All documents, and the files that the last run could not index, with reasons.

    access: a document's readers need one of the groups of each list.
    """
    store = services.ready_facts().store
    documents = await asyncio.to_thread(store.documents, knowledge_base or None)
    failures = await asyncio.to_thread(store.failures, knowledge_base or None)
    asked = await asyncio.to_thread(store.requirements, [item.document_id for item in documents])
    rows = [{**asdict(item), "access": asked.get(item.document_id, ())} for item in documents]
    return {"documents": rows, "failures": [asdict(item) for item in failures]}


@router.get("/brands")
async def list_brands(services: ServicesOf) -> dict[str, Any]:
    """The brands in use; `error` says why newer files are not."""
    brands = services.brands.brands().values()
    rows = [{**brand.model_dump(mode="json"), "active_adapter": _active(brand.name, services)} for brand in brands]
    return {"brands": rows, "base": services.base.name, "error": services.brands.error}


@router.get("/requests/{request_id}")
async def read_request(request_id: str, services: ServicesOf) -> dict[str, Any]:
    """What is recorded of one answered request."""
    return await asyncio.to_thread(services.records.read, request_id)


@router.get("/status")
async def read_status(services: ServicesOf) -> dict[str, Any]:
    """Versions, the engine's state, and whether the three indexes agree (checked now)."""
    index = await asyncio.to_thread(services.check_index) if services.facts else None
    return {
        "readiness": services.readiness() or "ready",
        "started_unix_seconds": services.started_unix_seconds,
        "base": {"name": services.base.name, "sha256": services.base.sha256, "path": str(services.base.path)},
        "prompt_version": PROMPT_VERSION,
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "engine": asdict(services.engine.status()),
        "base_fact_layout": _base_layout(services),
        "index": asdict(index) if index else None,
        "brands_error": services.brands.error,
    }


def _base_layout(services: ServicesOf) -> str:
    """How the sources of voices without adapter are read now."""
    return layout_for(None, services.engine.status().facts.layout, services.settings.engine)


def _active(brand: str, services: ServicesOf) -> str | None:
    version = services.registry.active(brand)
    return version.name if version else None


async def _lines(events: AsyncGenerator[IngestEvent, None]) -> AsyncGenerator[bytes, None]:
    async for event in events:
        yield json.dumps(_line(event), ensure_ascii=False).encode() + b"\n"


def _line(event: IngestEvent) -> dict[str, Any]:
    match event:
        case Progress():
            return {"progress": asdict(event)}
        case IngestReport():
            return {"report": {**event.row, "summary": event.summary}}
        case _:
            return failure_of(event).body
