"""Is it alive, can it answer, and how is it doing."""

from fastapi import APIRouter, Response
from starlette.responses import JSONResponse

from server.api.context import KeyOf, ServicesOf
from server.failures import RETRY_AFTER_RESTART_SECONDS
from server.services import Services

router = APIRouter()


@router.get("/healthz")
async def read_health() -> dict[str, str]:
    """The process answers; nothing else is meant."""
    return {"status": "ok"}


@router.get("/readyz", response_model=None)
async def read_readiness(services: ServicesOf) -> Response:
    """200 where questions are answered now, else 503 with the reason."""
    reason = services.readiness()
    if not reason:
        return JSONResponse({"status": "ready", **_index_details(services)})
    headers = {"Retry-After": str(RETRY_AFTER_RESTART_SECONDS)}
    return JSONResponse({"status": "not ready", "reason": reason}, 503, headers)


def _index_details(services: Services) -> dict[str, object]:
    """Which index generation answers, and whether it is still what the settings ask for (`housevoice doctor` says
    in what it is not)."""
    generations = services.facts.generations if services.facts else None
    if generations is None:
        return {}
    return {"index_generation": generations.number, "index_matches_settings": not generations.differences}


@router.get("/metrics", response_model=None)
async def read_metrics(services: ServicesOf, key: KeyOf) -> Response:
    """Prometheus text; the index's sizes for admins only."""
    text = services.metrics.render(with_index=key.is_admin)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
