"""The document page and the chat page: everything escaped, nothing loaded from elsewhere."""

import re
from html.parser import HTMLParser
from importlib import resources

import httpx
import pytest

from ingest.documents import Chunk
from server.api.documents import render_page
from server.api.guard import PAGE_FILES
from tests.server.api.world import World, document

PAYLOADS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><svg onload=alert(1)>",
    "<!--", "&lt;b&gt;", "javascript:alert(1)", "\x00\x1b[31m",
]  # fmt: skip


class Skeleton(HTMLParser):
    """Tags with the names of their attributes, and comments: what a payload would have to add to."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts.append(f"{tag} {[name for name, _ in attrs]}")

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(f"/{tag}")

    def handle_comment(self, data: str) -> None:
        self.parts.append("comment")


def skeleton(page: str) -> list[str]:
    parser = Skeleton()
    parser.feed(page)
    parser.close()
    return parser.parts


async def test_the_cited_place_is_an_anchor(client: httpx.AsyncClient) -> None:
    page = (await client.get("/documents/manual")).text
    assert 'id="chunk-manual-0"' in page
    assert "Manual &lt;b&gt;H5&lt;/b&gt;" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "page 3" in page


async def test_chunks_stand_in_order(client: httpx.AsyncClient) -> None:
    page = (await client.get("/documents/warranty")).text
    assert page.index("chunk-warranty-0") < page.index("chunk-warranty-1")


async def test_the_policy_of_the_document_page_allows_its_own_style_alone(client: httpx.AsyncClient) -> None:
    headers = (await client.get("/documents/manual")).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "private, no-store"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_whatever_a_document_holds_stays_text(payload: str) -> None:
    of = document(payload, payload, payload)
    clean = render_page(document("x", "x", "x"), [Chunk("x", "x", 0, "x", ("x",), "x", 1)])
    page = render_page(of, [Chunk(payload, payload, 0, payload, (payload,), payload, 1)])
    assert skeleton(page) == skeleton(clean)


async def test_the_chat_page_needs_no_key_and_loads_only_its_own_files(world: World) -> None:
    async with world.client(None) as client:
        page = await client.get("/")
        assert page.status_code == 200
        wanted = set(re.findall(r'(?:src|href)="(/[^"]+)"', page.text))
        assert wanted <= {f"/page/{name}" for name in PAGE_FILES}
        for path in wanted | {"/page/render.js", "/page/feedback.js"}:
            assert (await client.get(path)).status_code == 200, path
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", PAGE_FILES)
def test_page_files_name_no_other_origin_and_no_markup_sinks(name: str) -> None:
    text = (resources.files("server") / "page" / name).read_text(encoding="utf-8")
    addresses = set(re.findall(r"https?://[\w./-]+", text)) - {"http://www.w3.org/2000/svg"}
    assert addresses == set()
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("//"))
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert sink not in code


async def test_an_unlisted_page_file_is_not_served(client: httpx.AsyncClient) -> None:
    for name in ("index.html", "..%2fkeys.py", "page.py", "%2e%2e%2fapp.py"):
        assert (await client.get(f"/page/{name}")).status_code == 404
