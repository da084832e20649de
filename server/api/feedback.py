"""POST /v1/feedback for users, and the review of it for admins."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from config.errors import BadRequestError, NotFoundError
from server.api.context import KeyOf, ServicesOf, admin_key_of
from server.api.schemas.feedback import FeedbackBody, ReviewBody
from server.feedback import State, example_row, feedback_of
from server.keys import ApiKey
from server.services import Services

MAX_ROWS = 10_000
Name = Annotated[str, Query(max_length=200)]
router = APIRouter()
admin_router = APIRouter(prefix="/api/feedback", dependencies=[Depends(admin_key_of)])


@router.post("/v1/feedback", status_code=201)
async def give_feedback(body: FeedbackBody, services: ServicesOf, key: KeyOf) -> dict[str, Any]:
    """About one of the caller's own answers, by the x-request-id that came with it."""
    if not services.settings.storage.store_text:
        raise BadRequestError(
            "Feedback is not kept here.", None, "feedback_off", "An operator turns it on: storage.store_text = true."
        )
    record = await asyncio.to_thread(_own_record, body.request_id, services, key)
    if not record["question"]:
        raise BadRequestError(
            f"The text of {body.request_id} was not kept: storing was off when it was answered.",
            "request_id",
            "feedback_off",
        )
    given = feedback_of(record, body.rating, body.fault, body.comment, body.edited_answer)
    await asyncio.to_thread(services.feedback.add, given)
    services.metrics.count_feedback(given)
    return {"id": given.feedback_id, "object": "feedback", "request_id": given.request_id, "fault": given.fault}


@admin_router.get("")
async def list_feedback(
    services: ServicesOf,
    brand: Name = "",
    state: State | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 100,
) -> dict[str, Any]:
    found = await asyncio.to_thread(services.feedback.latest, brand or None, state, limit)
    return {"feedback": [asdict(item) for item in found]}


@admin_router.post("/{feedback_id}/review")
async def review_feedback(feedback_id: str, body: ReviewBody, services: ServicesOf) -> dict[str, Any]:
    """An accepted edit becomes an example row."""
    return asdict(await asyncio.to_thread(services.feedback.review, feedback_id, body.state))


@admin_router.get("/examples")
async def export_examples(services: ServicesOf, brand: Name) -> dict[str, Any]:
    """Accepted edits of a brand as rows of chat-JSONL, the oldest first."""
    found = await asyncio.to_thread(services.feedback.latest, brand, State.ACCEPTED, MAX_ROWS)
    return {"rows": [example_row(item) for item in reversed(found) if item.edited_answer]}


def _own_record(request_id: str, services: Services, key: ApiKey) -> dict[str, Any]:
    """Raises NotFoundError alike for a request that does not exist and somebody else's."""
    record = services.records.read(request_id)
    if record["key_id"] != key.id and not key.is_admin:
        raise NotFoundError(f"No request {request_id!r} is recorded.")
    return record
