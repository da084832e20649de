"""/v1/files: rows to train on, as OpenAI's clients upload them, and the results of jobs. Admin keys, each its own."""

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import FileResponse

from adapters.jobs.files import MAX_LISTED, FileBook, Purpose, TrainingFile
from adapters.jobs.rows import inspect_rows
from adapters.registry import file_sha256
from config.errors import BadRequestError, NotFoundError
from ingest.uploads import Uploads, safe_name
from server.api.context import AdminKeyOf, ServicesOf, admin_key_of
from server.api.multipart import Form, receive_form
from server.api.paging import After, ends_of, listing, only
from server.finetuning.runner import TrainingJobs
from server.keys import ApiKey
from server.services import Services

ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"
FIELDS = ("purpose", ANCHOR, SECONDS)
SHORTEST_LIFE, LONGEST_LIFE = 3_600, 2_592_000
"""Seconds, as OpenAI has them."""

FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": [Purpose.FINE_TUNE]},
                        ANCHOR: {"type": "string", "enum": ["created_at"]},
                        SECONDS: {"type": "integer", "minimum": SHORTEST_LIFE, "maximum": LONGEST_LIFE},
                    },
                }
            }
        },
    }
}
router = APIRouter(prefix="/v1/files", dependencies=[Depends(admin_key_of)])


def files_of(request: Request) -> FileBook:
    jobs: TrainingJobs = request.app.state.training_jobs
    return jobs.files


FilesOf = Annotated[FileBook, Depends(files_of)]


@router.post("", openapi_extra=FORM)
async def create_file(request: Request, services: ServicesOf, files: FilesOf, key: AdminKeyOf) -> dict[str, Any]:
    """Checked before it counts: a file with a bad row is refused with the line and the reason, and leaves nothing."""
    incoming = Uploads(services.settings.data).new_incoming()
    try:
        form = await receive_form(request.headers.get("content-type", ""), request.stream(), incoming)
        expires_after = _checked_form(form)
        file = await asyncio.to_thread(_described, form, incoming, expires_after, services, key)
        await asyncio.to_thread(files.drop_expired)
        await asyncio.to_thread(files.add, file, incoming)
    finally:
        incoming.unlink(missing_ok=True)
    return _row(file)


@router.get("", dependencies=[Depends(only("purpose", "limit", "order", "after"))])
async def list_files(
    files: FilesOf,
    key: AdminKeyOf,
    purpose: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = MAX_LISTED,
    order: Literal["asc", "desc"] = "desc",
    after: After = None,
) -> dict[str, Any]:
    page = await asyncio.to_thread(
        files.page, key.id, purpose=purpose, after=after, limit=limit, newest_first=order == "desc"
    )
    rows = [_row(file) for file in page.items]
    return listing(rows, page.has_more, **ends_of(rows, empty=""))


@router.get("/{file_id}")
async def read_file(file_id: str, files: FilesOf, key: AdminKeyOf) -> dict[str, Any]:
    return _row(await asyncio.to_thread(files.get, file_id, key.id))


@router.get("/{file_id}/content", response_model=None)
async def read_content(file_id: str, files: FilesOf, key: AdminKeyOf) -> FileResponse:
    """The bytes as they came."""
    file = await asyncio.to_thread(files.get, file_id, key.id)
    path = files.path(file)
    if not path.is_file():
        raise NotFoundError(f"The bytes of {file_id} are gone.", hint="Upload the file again.")
    return FileResponse(path, media_type="application/octet-stream", filename=file.name)


@router.delete("/{file_id}")
async def delete_file(file_id: str, files: FilesOf, key: AdminKeyOf) -> dict[str, Any]:
    """Jobs that were created with it go on with a copy of their own, which ends with them."""
    await asyncio.to_thread(files.remove, file_id, key.id)
    return {"id": file_id, "object": "file", "deleted": True}


def _checked_form(form: Form) -> int | None:
    """Seconds until the file expires, None for never. Raises BadRequestError for what is not offered."""
    for name in form.fields:
        if name not in FIELDS:
            raise BadRequestError(f"Unknown parameter: {name}.", name, "unknown_parameter")
    purpose = form.fields.get("purpose")
    if purpose is None:
        raise BadRequestError("Send purpose=fine-tune.", "purpose", "missing_required_parameter")
    if purpose != Purpose.FINE_TUNE:
        raise BadRequestError(
            f"The purpose {purpose[:100]!r} is not offered; files for fine-tune are.",
            "purpose",
            hint="Documents go to POST /api/documents.",
        )
    return _life(form.fields)


def _life(fields: dict[str, str]) -> int | None:
    anchor, seconds = fields.get(ANCHOR), fields.get(SECONDS)
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise BadRequestError("Files expire counted from created_at.", ANCHOR)
    if seconds is None or not seconds.isdecimal() or not SHORTEST_LIFE <= int(seconds[:20]) <= LONGEST_LIFE:
        raise BadRequestError(f"Send whole seconds from {SHORTEST_LIFE} to {LONGEST_LIFE}.", SECONDS)
    return int(seconds)


def _described(form: Form, content: Path, life: int | None, services: Services, key: ApiKey) -> TrainingFile:
    """Raises BadRequestError for rows that cannot be trained on."""
    name, settings, now = safe_name(form.file_name), services.settings.training, services.clock()
    num_bytes = content.stat().st_size
    if num_bytes > settings.max_file_bytes:
        raise BadRequestError(
            f"{name} has {num_bytes} bytes.", "file", hint="Send less, or raise training.max_file_bytes."
        )
    report = inspect_rows(content, name, settings.max_rows)
    return TrainingFile(
        file_id=f"file-{services.new_id()}",
        key_id=key.id,
        purpose=Purpose.FINE_TUNE,
        name=name,
        num_bytes=num_bytes,
        num_rows=report.num_rows,
        sha256=file_sha256(content),
        created_unix_seconds=now,
        expires_unix_seconds=None if life is None else now + life,
        num_private=report.num_private,
        num_repeated=report.num_repeated,
    )


def _row(file: TrainingFile) -> dict[str, Any]:
    row = {
        "id": file.file_id,
        "object": "file",
        "bytes": file.num_bytes,
        "created_at": file.created_unix_seconds,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }
    return row if file.expires_unix_seconds is None else {**row, "expires_at": file.expires_unix_seconds}
