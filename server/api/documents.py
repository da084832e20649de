"""GET /documents/{id}: the page a citation leads to. Everything on it comes from documents, so all of it is escaped."""

import asyncio
import hashlib
import html
from base64 import b64encode

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from ingest.documents import Chunk, Document
from server.api.context import KeyOf, ServicesOf
from server.keys import ApiKey
from server.services import Services

STYLE = """
:root{color-scheme:light dark;--ink:#1d2430;--soft:#657084;--line:#dfe3ea;--paper:#fbfbf9;--mark:#fff3c4;--edge:#e0a800}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#98a2b3;--line:#2c3442;--paper:#14181f;--mark:#3a3213}}
body{margin:0 auto;max-width:46rem;padding:2rem 1.25rem 6rem;background:var(--paper);color:var(--ink);
font:1rem/1.6 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .25rem}
.path,.place{color:var(--soft);font-size:.85rem;margin:0}
section{padding:1rem;margin:1rem -1rem 0;border-top:1px solid var(--line);border-left:3px solid transparent;
scroll-margin-top:25vh}
section:target{background:var(--mark);border-left-color:var(--edge);border-radius:.25rem}
section p.text{white-space:pre-wrap;margin:.35rem 0 0}
a{color:inherit}
"""
STYLE_HASH = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "private, no-store"}

router = APIRouter()


@router.get("/documents/{document_id}", response_class=HTMLResponse)
async def read_document(document_id: str, services: ServicesOf, key: KeyOf) -> HTMLResponse:
    """Its chunks in order; the address's #chunk-... is highlighted. 404 alike for absent and not readable."""
    page = await asyncio.to_thread(_page, document_id, services, key)
    return HTMLResponse(page, headers=HEADERS)


def _page(document_id: str, services: Services, key: ApiKey) -> str:
    document = services.readable_document(document_id, key)
    return render_page(document, services.ready_facts().store.chunks_of(document.document_id))


def render_page(document: Document, chunks: list[Chunk]) -> str:
    title = html.escape(document.title)
    path = html.escape(f"{document.knowledge_base} / {document.path}")
    sections = "\n".join(_section(chunk) for chunk in chunks)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f'<body><header><h1>{title}</h1><p class="path">{path}</p></header>\n'
        f"<main>\n{sections}\n</main></body></html>\n"
    )


def _section(chunk: Chunk) -> str:
    place = html.escape(" · ".join(part for part in (chunk.heading, chunk.location) if part))
    anchor = html.escape(f"chunk-{chunk.chunk_id}")
    return f'<section id="{anchor}"><p class="place">{place}</p><p class="text">{html.escape(chunk.text)}</p></section>'
