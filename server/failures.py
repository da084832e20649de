"""One table from our errors to HTTP, in the shape that OpenAI clients read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from config.errors import (
    BadRequestError,
    EngineError,
    HousevoiceError,
    NotFoundError,
    OverloadedError,
)
from server.engine.messages import FailedEvent, FailureKind

RETRY_AFTER_RESTART_SECONDS = 2


class UnauthorizedError(HousevoiceError):
    """No key, or one that is unknown or revoked."""


class ForbiddenError(HousevoiceError):
    """The key is good but may not do this."""


class RequestTimeoutError(HousevoiceError):
    """The answer took longer than engine.request_timeout_seconds."""


class NotReadyError(HousevoiceError):
    """The server is still starting, or is shutting down."""


class BodyTooLargeError(HousevoiceError):
    """The request body exceeds server.max_body_bytes."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it goes over the wire: status, headers, and the four keys of OpenAI's error object."""

    status: int
    message: str
    kind: str
    code: str
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True, slots=True)
class Row:
    status: int
    kind: str
    code: str


TABLE: tuple[tuple[type[HousevoiceError], Row], ...] = (
    (BadRequestError, Row(400, "invalid_request_error", "invalid_value")),
    (UnauthorizedError, Row(401, "invalid_request_error", "invalid_api_key")),
    (ForbiddenError, Row(403, "permission_error", "insufficient_permissions")),
    (NotFoundError, Row(404, "invalid_request_error", "not_found")),
    (BodyTooLargeError, Row(413, "invalid_request_error", "body_too_large")),
    (OverloadedError, Row(429, "rate_limit_error", "rate_limit_exceeded")),
    (EngineError, Row(503, "server_error", "engine_unavailable")),
    (NotReadyError, Row(503, "server_error", "not_ready")),
    (RequestTimeoutError, Row(504, "server_error", "timeout")),
    (HousevoiceError, Row(500, "server_error", "server_error")),
)
"""First match wins; the last row takes everything else that is meant for a person."""

INTERNAL = Failure(
    500,
    "The server met an error of its own; its log has details under this request's id.",
    "server_error",
    "internal",
)


def failure_of(error: Exception) -> Failure:
    """What the client is told. An error that is not ours tells nothing but that it happened."""
    for kind, row in TABLE:
        if isinstance(error, kind):
            return Failure(row.status, str(error), row.kind, _code(error, row), _param(error), _headers(error, row))
    return INTERNAL


def error_of(event: FailedEvent) -> HousevoiceError:
    """The engine's refusal as an error of the tree."""
    match event.kind:
        case FailureKind.OVERLOADED:
            return OverloadedError(event.message)
        case FailureKind.TOO_LONG:
            return BadRequestError(event.message, "messages", "context_length_exceeded")
        case FailureKind.BAD_REQUEST:
            return BadRequestError(event.message)
        case FailureKind.TIMED_OUT:
            return RequestTimeoutError(event.message, "Ask for fewer tokens, or raise engine.request_timeout_seconds.")
        case FailureKind.BAD_ADAPTER:
            return HousevoiceError(event.message, "Activate another adapter version of this brand.")
        case FailureKind.ENGINE:
            return EngineError(event.message)


def _code(error: HousevoiceError, row: Row) -> str:
    return error.code if isinstance(error, (BadRequestError, NotFoundError)) else row.code


def _param(error: HousevoiceError) -> str | None:
    return error.param if isinstance(error, (BadRequestError, NotFoundError)) else None


def _headers(error: HousevoiceError, row: Row) -> dict[str, str]:
    if isinstance(error, OverloadedError):
        return {"Retry-After": str(error.retry_after_seconds)}
    if row.status == 503:
        return {"Retry-After": str(RETRY_AFTER_RESTART_SECONDS)}
    return {"WWW-Authenticate": "Bearer"} if row.status == 401 else {}
