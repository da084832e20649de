"""A browser's session: the page hands in the key once, so that document links open without it."""

from typing import Any

from fastapi import APIRouter, Request, Response

from server.api.context import KeyOf, ServicesOf
from server.api.guard import session_token
from server.sessions import COOKIE, SECONDS

router = APIRouter()


@router.post("/api/session")
async def open_session(request: Request, response: Response, services: ServicesOf, key: KeyOf) -> dict[str, Any]:
    """Sets the cookie. The key itself comes in the Authorization header, so no foreign page can do this."""
    response.set_cookie(
        COOKIE,
        services.sessions.open(key),
        max_age=SECONDS,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
        path="/",
    )
    return {"name": key.name, "role": key.role, "keeps_feedback": services.settings.storage.store_text}


@router.delete("/api/session")
async def close_session(request: Request, response: Response, services: ServicesOf, key: KeyOf) -> dict[str, Any]:
    services.sessions.close(session_token(request.headers.get("cookie", "")))
    response.delete_cookie(COOKIE, path="/")
    return {"closed": True}
