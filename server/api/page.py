"""The built-in chat page: a few files, no build step, nothing from elsewhere."""

from importlib import resources

from fastapi import APIRouter
from starlette.responses import Response

from config.errors import NotFoundError

FILES = {
    "index.html": "text/html; charset=utf-8",
    "jobs.html": "text/html; charset=utf-8",
    "jobs.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "render.js": "text/javascript; charset=utf-8",
    "feedback.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
router = APIRouter()


@router.get("/", response_model=None)
async def read_page() -> Response:
    return _file("index.html")


@router.get("/page/{name}", response_model=None)
async def read_page_file(name: str) -> Response:
    if name not in FILES or name == "index.html":
        raise NotFoundError("There is nothing at this address.")
    return _file(name)


def _file(name: str) -> Response:
    content = (resources.files("server") / "page" / name).read_bytes()
    return Response(content, media_type=FILES[name], headers=HEADERS)
