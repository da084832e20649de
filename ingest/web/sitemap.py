"""Sitemaps (sitemaps.org): XML or plain lists of pages, indexes of sitemaps, compressed or not. Untrusted.

Read by expat as it streams, without a tree; a document type declaration, and with it every kind of entity, is refused.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

import httpx

from ingest.documents import Failure
from ingest.web.fetch import normal
from ingest.web.inflate import GZIP_START, inflate
from ingest.web.reasons import FetchError, FetchReason

MAX_SITEMAPS = 200
MAX_DEPTH = 2
"""An index may name indexes (the protocol does not allow it, sites do it), those only sitemaps."""


@dataclass(frozen=True, slots=True)
class Sitemap:
    """pages and sitemaps: addresses as they are written there."""

    pages: tuple[str, ...] = ()
    sitemaps: tuple[str, ...] = ()


@dataclass(slots=True)
class Listing:
    """All pages of a sitemap and those that it refers to, in order, each once.

    is_complete: nothing was out of reach or over a limit, so what is not listed is not there.
    """

    pages: dict[str, None] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    is_complete: bool = True

    def fail(self, failure: Failure) -> None:
        self.failures.append(failure)
        self.is_complete = False


def read_sitemap(data: bytes, max_bytes: int) -> Sitemap:
    """Raises FetchError: damaged, or too_large where it unfolds to more than max_bytes."""
    if data.startswith(GZIP_START):
        data = inflate([data], max_bytes)
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return _read_xml(data)
    lines = (line.strip() for line in data.decode("utf-8", "replace").splitlines())
    return Sitemap(tuple(line for line in lines if line.startswith(("http://", "https://"))))


def list_pages(url: str, fetch: Callable[[str], bytes], max_pages: int, max_bytes: int) -> Listing:
    """fetch: the bytes of a sitemap, or FetchError. Pages of other hosts than the sitemap's are not taken from it."""
    listing = Listing()
    waiting, seen = deque([(normal(url), 0)]), {normal(url)}
    while waiting:
        address, depth = waiting.popleft()
        try:
            sitemap = read_sitemap(fetch(address), max_bytes)
        except FetchError as error:
            listing.fail(error.failure(address))
            continue
        for page in _own(sitemap.pages, address, listing):
            if len(listing.pages) >= max_pages:
                listing.fail(_too_many(address, f"more than {max_pages} pages; the first are taken (web.max_pages)"))
                return listing
            listing.pages[page] = None
        for other in _own(sitemap.sitemaps, address, listing):
            if other in seen:
                continue
            if depth == MAX_DEPTH or len(seen) == MAX_SITEMAPS:
                listing.fail(_too_many(address, f"more than {MAX_SITEMAPS} sitemaps, or too many levels of them"))
                break
            seen.add(other)
            waiting.append((other, depth + 1))
    return listing


def _own(addresses: tuple[str, ...], sitemap: str, listing: Listing) -> Iterator[str]:
    """Normal addresses of the sitemap's own host; the others become failures."""
    host = _bare_host(sitemap)
    for address in addresses:
        try:
            page = normal(address)
        except FetchError as error:
            listing.failures.append(error.failure(address))
            continue
        if _bare_host(page) == host:
            yield page
        else:
            detail = f"The sitemap {sitemap} lists it, and is of another host."
            listing.failures.append(Failure(page, str(FetchReason.UNSUPPORTED), detail))


def _bare_host(url: str) -> str:
    return httpx.URL(url).host.removeprefix("www.")


def _too_many(address: str, what: str) -> Failure:
    return Failure(address, str(FetchReason.TOO_MANY), f"It lists {what}.")


def _read_xml(data: bytes) -> Sitemap:
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise FetchError(FetchReason.DAMAGED, f"The sitemap is no XML ({error}).") from error
    if not reader.is_sitemap:
        raise FetchError(FetchReason.UNSUPPORTED, "It is no sitemap: its root is neither urlset nor sitemapindex.")
    return Sitemap(tuple(reader.found["url"]), tuple(reader.found["sitemap"]))


def _refuse_doctype(*_: object) -> NoReturn:
    raise FetchError(FetchReason.UNSUPPORTED, "The sitemap declares a document type, which none needs.")


class _Reader:
    """<url><loc> and <sitemap><loc>, whatever their namespace; <image:loc> and the like stand elsewhere."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {"url": [], "sitemap": []}
        self.is_sitemap = False
        self._open: list[str] = []
        self._text: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        self.is_sitemap |= not self._open and local in ("urlset", "sitemapindex")
        self._open.append(local)
        self._text.clear()

    def text(self, data: str) -> None:
        if self._open and self._open[-1] == "loc":
            self._text.append(data)

    def end(self, name: str) -> None:
        self._open.pop()
        if name.rpartition(" ")[2] == "loc" and self._open and self._open[-1] in self.found:
            self.found[self._open[-1]].append("".join(self._text).strip())
