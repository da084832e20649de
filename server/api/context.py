"""What a route gets from its request: the services, the key, the request id."""

from typing import Annotated

from fastapi import Depends, Request

from server.failures import ForbiddenError
from server.keys import ApiKey
from server.services import Services


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def key_of(request: Request) -> ApiKey:
    """The caller's key; the guard has checked it."""
    key: ApiKey = request.state.key
    return key


def admin_key_of(request: Request) -> ApiKey:
    """Raises ForbiddenError for a reader's key."""
    key = key_of(request)
    if not key.is_admin:
        raise ForbiddenError("This needs an admin key.", "housevoice keys create --role admin makes one.")
    return key


def request_id_of(request: Request) -> str:
    request_id: str = request.state.request_id
    return request_id


ServicesOf = Annotated[Services, Depends(services_of)]
KeyOf = Annotated[ApiKey, Depends(key_of)]
AdminKeyOf = Annotated[ApiKey, Depends(admin_key_of)]
RequestIdOf = Annotated[str, Depends(request_id_of)]
