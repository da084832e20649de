"""Parts of a list, as OpenAI's clients ask for them."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import Query, Request

from config.errors import BadRequestError

MAX_LIMIT = 1_000
After = Annotated[str | None, Query(max_length=200, description="The last id of the part before.")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]


def only(*names: str, prefix: str | None = None) -> Callable[[Request], None]:
    """A dependency that refuses query parameters other than these, and those that begin with `prefix`."""

    def check(request: Request) -> None:
        for name in request.query_params:
            if name not in names and not (prefix and name.startswith(prefix)):
                raise BadRequestError(f"Unknown parameter: {name}.", name, "unknown_parameter")

    return check


def listing(data: list[dict[str, Any]], has_more: bool, **more: object) -> dict[str, Any]:
    return {"object": "list", "data": data, "has_more": has_more, **more}


def ends_of(data: list[Mapping[str, Any]] | list[dict[str, Any]], empty: str | None) -> dict[str, Any]:
    """`first_id` and `last_id`; `empty` where there is nothing."""
    return {"first_id": data[0]["id"] if data else empty, "last_id": data[-1]["id"] if data else empty}
