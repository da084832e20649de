"""Every error of the framework in OpenAI's shape; no `detail` anywhere."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from config.errors import BadRequestError, HousevoiceError
from server.failures import Failure, failure_of

CODES = {
    "missing": "missing_required_parameter",
    "extra_forbidden": "unknown_parameter",
    "json_invalid": "invalid_json",
}
HIDDEN_PARTS = ("body", "query", "path")
MESSAGES = {404: "There is nothing at this address.", 405: "This address does not take that method."}


def install(app: FastAPI) -> None:
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(HousevoiceError, _on_own_error)


def answer_of(failure: Failure) -> JSONResponse:
    return JSONResponse(failure.body, failure.status, dict(failure.headers))


def validation_error(errors: Sequence[Any]) -> BadRequestError:
    """The first of pydantic's errors as ours: which parameter, what is wrong with it."""
    first = _most_precise(errors)
    context = first.get("ctx", {})
    if "param" in context:
        return BadRequestError(context["message"], context["param"], context["code"])
    if first["type"] == "json_invalid":
        return BadRequestError(
            f"The body is not valid JSON: {context.get('error', first['msg'])}.", code="invalid_json"
        )
    param = name_of(first["loc"])
    code = CODES.get(first["type"], "invalid_value")
    if first["type"] == "extra_forbidden":
        return BadRequestError(f"Unknown parameter: {param}.", param, code)
    if not param:
        hint = "Send a JSON object with Content-Type: application/json."
        return BadRequestError("The body is no JSON object.", code="invalid_json", hint=hint)
    return BadRequestError(f"{param}: {first['msg']}.".replace("..", "."), param, code)


def _most_precise(errors: Sequence[Any]) -> Any:
    """Of the errors of the first parameter, the one furthest inside: a union reports one for each of its members."""
    same = [error for error in errors if error["loc"][:2] == errors[0]["loc"][:2]]
    return max(same, key=lambda error: len(error["loc"]))


def name_of(location: Sequence[str | int]) -> str | None:
    """("body", "messages", 0, "content") -> "messages[0].content". Names of union members are left out."""
    name = ""
    parts = location[1:] if location and location[0] in HIDDEN_PARTS else location
    for part in parts:
        if isinstance(part, int):
            name += f"[{part}]"
        elif part.isidentifier() and part not in ("str", "int"):
            name += f".{part}" if name else part
    return name or None


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return answer_of(failure_of(validation_error(error.errors())))


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message = MESSAGES.get(error.status_code, str(error.detail))
    kind = "server_error" if error.status_code >= 500 else "invalid_request_error"
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_value")
    return answer_of(Failure(error.status_code, message, kind, code, None, dict(error.headers or {})))


async def _on_own_error(request: Request, error: Exception) -> JSONResponse:
    return answer_of(failure_of(error if isinstance(error, HousevoiceError) else HousevoiceError(str(error))))
