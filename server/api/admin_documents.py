"""Documents over the API: upload one, delete one. Admin keys only."""

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends, Request

from config.errors import BadRequestError
from ingest.documents import Document
from ingest.pipeline import document_id_of
from ingest.store import checked_name
from ingest.uploads import UploadOrigin, Uploads, refusal, safe_name
from server.api.context import ServicesOf, admin_key_of
from server.api.multipart import receive_form
from server.ingest_run import IngestOrder, IngestRunner
from server.services import Services

FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "knowledge_base": {"type": "string", "default": "company"},
                    },
                }
            }
        },
    }
}
router = APIRouter(prefix="/api/documents", dependencies=[Depends(admin_key_of)])


@router.post("", status_code=201, openapi_extra=FORM)
async def upload_document(request: Request, services: ServicesOf) -> dict[str, Any]:
    """Indexed when the answer comes. One of the same name is replaced; a file that cannot be read changes nothing."""
    services.ready_facts()
    uploads = Uploads(services.settings.data)
    incoming = uploads.new_incoming()
    try:
        form = await receive_form(request.headers.get("content-type", ""), request.stream(), incoming)
        knowledge_base = form.fields.get("knowledge_base", "company")
        checked_name(knowledge_base)
        name = safe_name(form.file_name)
        reason = await asyncio.to_thread(refusal, incoming, name, services.settings.ingest)
        if reason is not None:
            raise BadRequestError(f"{name} cannot be read: {reason.message}", "file", str(reason.reason))
        path = uploads.place(incoming, knowledge_base, name)
    finally:
        incoming.unlink(missing_ok=True)
    return await _index(path, knowledge_base, request.app.state.ingest, services)


@router.delete("/{document_id}")
async def delete_document(document_id: str, request: Request, services: ServicesOf) -> dict[str, Any]:
    """Out of every index and cache, with the file where it was uploaded or fetched. `kept_at`: where a folder's file
    still lies; the next ingest of that folder brings it back.
    """
    store = services.ready_facts().store
    document = await asyncio.to_thread(store.document, document_id)
    root = await asyncio.to_thread(store.root_of, document.document_id)
    runner: IngestRunner = request.app.state.ingest
    await runner.remove(document)
    return {"deleted": asdict(document), "kept_at": "" if _is_ours(root, services) else root}


async def _index(path: str, knowledge_base: str, runner: IngestRunner, services: Services) -> dict[str, Any]:
    origin = UploadOrigin(Uploads(services.settings.data), knowledge_base, path)
    report = await runner.report_of(IngestOrder(origin, knowledge_base))
    failure = next((item for item in report.failures if item.path == path), None)
    if failure is not None:
        raise BadRequestError(f"{path} cannot be read: {failure.detail}", "file", failure.reason)
    return {"document": asdict(await asyncio.to_thread(_find, path, knowledge_base, services)), "run": report.run_id}


def _find(path: str, knowledge_base: str, services: Services) -> Document:
    return services.ready_facts().store.document(document_id_of(knowledge_base, path))


def _is_ours(root: str, services: Services) -> bool:
    data = services.settings.data
    return any(root.startswith(f"{folder.resolve()}/") for folder in (data.uploads, data.web))
