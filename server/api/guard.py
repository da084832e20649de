"""What every request passes first (host, key, rate, size) and what every response gets (request id, safe headers).

Closed by default: a route is reachable without a key only if its path stands in PUBLIC_PATHS, so a new route is
protected by itself.
"""

import asyncio
import json
import logging
import time
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.errors import BadRequestError, HousevoiceError, OverloadedError
from server.failures import BodyTooLargeError, Failure, UnauthorizedError, failure_of
from server.keys import ApiKey, is_use_stale
from server.services import Services
from server.sessions import COOKIE

PAGE_FILES = ("page.css", "page.js", "render.js", "feedback.js", "icon.svg", "jobs.html", "jobs.js")
PUBLIC_PATHS = frozenset({"/", "/healthz", "/readyz", *(f"/page/{name}" for name in PAGE_FILES)})
SESSION_PATHS = ("/documents/",)
"""Where a browser's session cookie stands for a key: reading only, so a foreign site can make it do nothing."""

STREAMED = {
    ("POST", "/api/documents"): ("ingest", "max_file_bytes"),
    ("POST", "/v1/files"): ("training", "max_file_bytes"),
}
"""(method, path) whose bodies go to a file as they arrive, and the setting that says how large such a file may be."""

FORM_BYTES = 100_000
"""What a form may hold beside its file."""

BODY_SECONDS = 30.0
SLOWEST_BYTES_PER_SECOND = 10_000
"""A streamed body gets BODY_SECONDS, and more as it arrives at this speed."""

MAX_IN_FLIGHT = 256
"""Requests with a good key that are worked on at the same time; it bounds what their bodies can hold."""

KEY_NEEDED = (
    '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Key needed</title>'
    "<h1>This document needs your key</h1>"
    '<p><a href="/">Enter it on the chat page</a>, then open this link again.</p></html>\n'
)
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; object-src 'none';"
    " form-action 'self'; frame-ancestors 'none'",
}
logger = logging.getLogger(__name__)


class Guard:
    """ASGI middleware. Leaves `request_id` and, behind PUBLIC_PATHS, `key` in the request's state."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services
        self._num_in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        request_id = f"req_{self._services.new_id()}"
        scope.setdefault("state", {})["request_id"] = request_id
        response = _Response(send, request_id)
        try:
            key = self._admit(scope)
            scope["state"]["key"] = key
            await self._pass_on(scope, receive, response)
            self._note_use(key)
        except Exception as error:  # noqa: BLE001  the edge: whatever is left becomes an answer and a log line
            await self._fail(error, request_id, response, scope, receive)

    async def _pass_on(self, scope: Scope, receive: Receive, response: "_Response") -> None:
        if self._num_in_flight >= MAX_IN_FLIGHT:
            raise OverloadedError(f"{MAX_IN_FLIGHT} requests are being worked on.")
        self._num_in_flight += 1
        try:
            await self._app(scope, await self._body(scope, receive), response.send)
        finally:
            self._num_in_flight -= 1

    async def _body(self, scope: Scope, receive: Receive) -> Receive:
        settings = self._services.settings
        if streamed := STREAMED.get((scope["method"], scope["path"])):
            section, key = streamed
            limit: int = getattr(getattr(settings, section), key)
            return _bounded(receive, limit + FORM_BYTES, f"{section}.{key}")
        return _replay(await _read_body(scope, receive, settings.server.max_body_bytes), receive)

    def _admit(self, scope: Scope) -> ApiKey | None:
        headers = Headers(scope=scope)
        _check_host(headers.get("host", ""), self._services.settings.server.allowed_hosts)
        if scope["path"] in PUBLIC_PATHS:
            return None
        key = self._key(scope, headers)
        if key is None:
            raise UnauthorizedError(
                "This needs a valid API key.", "Send it as 'Authorization: Bearer hv-...'; housevoice keys makes one."
            )
        if scope["path"].startswith("/v1/"):
            self._services.rates.take(key.id)
        return key

    def _key(self, scope: Scope, headers: Headers) -> ApiKey | None:
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and secret.strip():
            return self._services.keys.find(secret.strip())
        if scope["method"] in ("GET", "HEAD") and scope["path"].startswith(SESSION_PATHS):
            return self._key_of_session(headers.get("cookie", ""))
        return None

    def _key_of_session(self, header: str) -> ApiKey | None:
        token = session_token(header)
        key_id = self._services.sessions.key_id(token) if token else None
        return self._services.keys.find_by_id(key_id) if key_id else None

    def _note_use(self, key: ApiKey | None) -> None:
        if key is not None and is_use_stale(key):
            asyncio.get_running_loop().run_in_executor(None, self._services.keys.mark_used, key)

    async def _fail(
        self, error: Exception, request_id: str, response: "_Response", scope: Scope, receive: Receive
    ) -> None:
        if not isinstance(error, HousevoiceError):
            logger.error("Request %s to %s failed", request_id, scope["path"], exc_info=error)
        if response.has_started:
            raise error
        await _answer(failure_of(error), scope)(scope, receive, response.send)


class _Response:
    """Adds the headers that every response has."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.has_started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self._request_id
            for name, value in SAFE_HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


def _answer(failure: Failure, scope: Scope) -> Response:
    """JSON, but for a person who followed a document link without a session."""
    headers = dict(failure.headers)
    wants_page = "text/html" in Headers(scope=scope).get("accept", "")
    if failure.status == 401 and wants_page and scope["path"].startswith(SESSION_PATHS):
        return HTMLResponse(KEY_NEEDED, failure.status, headers)
    return JSONResponse(failure.body, failure.status, headers)


def session_token(cookie_header: str) -> str:
    """The session's token in a Cookie header, or empty."""
    try:
        morsel = SimpleCookie(cookie_header).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _check_host(host: str, allowed: tuple[str, ...]) -> None:
    """Against DNS rebinding: a foreign name that was pointed at this machine is not answered."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if "*" not in allowed and name.lower() not in allowed:
        raise BadRequestError(
            f"The host {name!r} is not served here.", None, "invalid_host", "Add it to server.allowed_hosts."
        )


async def _read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """All of the body, so that later code waits for nobody. Raises for one that is too large or too slow."""
    if int(_declared_length(scope)) > limit:
        raise _too_large(limit)
    parts = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                parts += message.get("body", b"")
                if len(parts) > limit:
                    raise _too_large(limit)
                if not message.get("more_body", False):
                    return _checked(bytes(parts))
    except TimeoutError:
        raise BadRequestError(f"The body did not arrive within {BODY_SECONDS:.0f} s.", code="body_timeout") from None


def _checked(body: bytes) -> bytes:
    """JSON can spell half a character (an unpaired surrogate), which no UTF-8 text can hold, ours included."""
    if b"\\ud" in body.lower():
        try:
            json.dumps(json.loads(body), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise BadRequestError("The body holds an unpaired surrogate escape.", code="invalid_json") from None
        except (ValueError, RecursionError):
            pass  # no JSON at all: the route says so
    return body


def _declared_length(scope: Scope) -> str:
    declared = Headers(scope=scope).get("content-length", "0")
    return declared if declared.isdigit() else "0"


def _too_large(limit: int, setting: str = "server.max_body_bytes") -> BodyTooLargeError:
    return BodyTooLargeError(f"The body is larger than {limit} bytes.", f"Send less, or raise {setting}.")


def _bounded(receive: Receive, limit: int, setting: str) -> Receive:
    """The body as it arrives. Raises for one that is too large or too slow."""
    started, num_bytes, is_complete = time.monotonic(), 0, False

    async def bounded() -> Message:
        nonlocal num_bytes, is_complete
        if is_complete:
            return await receive()
        deadline = started + BODY_SECONDS + num_bytes / SLOWEST_BYTES_PER_SECOND
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                message = await receive()
        except TimeoutError:
            raise BadRequestError("The body arrives too slowly.", code="body_timeout") from None
        num_bytes += len(message.get("body", b""))
        if num_bytes > limit:
            raise _too_large(limit, setting)
        is_complete = not message.get("more_body", False)
        return message

    return bounded


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once more for the route; what comes after it is only the client's leaving."""
    is_pending = True

    async def replay() -> Message:
        nonlocal is_pending
        if is_pending:
            is_pending = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay
