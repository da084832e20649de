"""One page at a time: GET with limits on where, how often, how long, how much and what."""

import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata

import httpcore
import httpx

from config.settings import WebSettings
from ingest.web.addresses import Allowed
from ingest.web.connection import CheckedBackend, Deadline, ForbiddenAddressError, Resolver, resolve
from ingest.web.inflate import inflate, join, too_large
from ingest.web.reasons import FetchError, FetchReason
from ingest.web.robots import AGENT, RobotsBook

CONNECT_SECONDS = 5.0
MAX_ROBOTS_BYTES = 500_000
REDIRECTS = frozenset({301, 302, 303, 307, 308})
GONE = frozenset({404, 410})
NOBODY_THERE = (FetchReason.FORBIDDEN_ADDRESS, FetchReason.UNREACHABLE, FetchReason.TIMED_OUT)
PAGE_TYPES = (
    *("text/html", "application/xhtml+xml", "text/plain", "text/markdown", "text/csv", "application/pdf"),
    *("application/vnd.openxmlformats-officedocument.", "message/rfc822", "application/octet-stream"),
)
SITEMAP_TYPES = (
    "application/xml",
    "text/xml",
    "text/plain",
    "application/gzip",
    "application/x-gzip",
    "application/octet",
)
ENCODINGS = {"": False, "identity": False, "gzip": True, "x-gzip": True, "deflate": True}
"""Content-Encoding: is it to be inflated? Others are refused; none but gzip is asked for."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is kept of a page already. `url` is where it came from in the end; its validators hold for that alone."""

    url: str = ""
    etag: str = ""
    last_modified: str = ""

    def headers_for(self, url: str) -> list[tuple[str, str]]:
        if url != self.url:
            return []
        headers = [("If-None-Match", self.etag), ("If-Modified-Since", self.last_modified)]
        return [(name, value) for name, value in headers if value]


@dataclass(frozen=True, slots=True)
class Page:
    """known: to ask next time whether it has changed. content_type: without parameters, in lower case."""

    known: Known
    content: bytes
    content_type: str


def normal(url: str) -> str:
    """An address as we keep it: without a fragment, the host in lower case. Raises FetchError for other than HTTP."""
    try:
        parsed = httpx.URL(url.strip()).copy_with(fragment=None)
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise FetchError(FetchReason.UNSUPPORTED, f"It is no address ({error}).") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise FetchError(FetchReason.UNSUPPORTED, "Only http:// and https:// addresses are fetched.")
    if parsed.userinfo:
        raise FetchError(FetchReason.UNSUPPORTED, "Addresses with a user name or password in them are not fetched.")
    return str(parsed)


class Fetcher:
    """For one run and one thread; `close` it. resolver, ssl_context: seams, the system's by default."""

    def __init__(
        self, settings: WebSettings, resolver: Resolver = resolve, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._settings = settings
        self._deadline = Deadline()
        backend = CheckedBackend(Allowed.of(settings.allow), resolver, self._deadline)
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl_context, max_connections=4, keepalive_expiry=5.0, network_backend=backend
        )
        self._robots = RobotsBook(self._robots_text)
        self._asked_at: dict[str, float] = {}

    def page(self, url: str, known: Known | None = None) -> Page | None:
        """None where it has not changed since `known`. Raises FetchError."""
        return self._get(url, PAGE_TYPES, known or Known(), self._settings.max_page_bytes, is_exempt=False)

    def sitemap(self, url: str) -> bytes:
        """Raises FetchError. A site's robots.txt names its sitemaps, so it does not forbid them."""
        page = self._get(url, SITEMAP_TYPES, Known(), self._settings.max_page_bytes, is_exempt=True)
        assert page
        return page.content

    def close(self) -> None:
        self._pool.close()

    def _robots_text(self, url: str) -> tuple[int, str]:
        try:
            page = self._get(url, ("",), Known(), MAX_ROBOTS_BYTES, is_exempt=True)
        except FetchError as error:
            if error.reason in NOBODY_THERE:
                raise
            return error.status, ""
        return 200, page.content.decode("utf-8", "replace") if page else ""

    def _get(self, url: str, types: Iterable[str], known: Known, max_bytes: int, *, is_exempt: bool) -> Page | None:
        """Follow redirects; each address on the way is checked like the first. is_exempt: from what robots.txt says."""
        for _ in range(self._settings.max_redirects + 1):
            url = normal(url)
            target = httpx.URL(url)
            if not is_exempt and not self._robots.allows(_origin(target), url):
                raise FetchError(
                    FetchReason.ROBOTS, f"The robots.txt of {target.host} does not allow it, or is out of order."
                )
            self._pause(target, is_exempt)
            found = self._answer(target, types, known, max_bytes)
            if not isinstance(found, str):
                return found
            url = str(target.join(found))
        raise FetchError(FetchReason.REDIRECTS, f"It was redirected more than {self._settings.max_redirects} times.")

    def _answer(self, target: httpx.URL, types: Iterable[str], known: Known, max_bytes: int) -> Page | str | None:
        """A page, None for an unchanged one, or the address that it redirects to."""
        self._deadline.start(self._settings.page_seconds)
        condition = known.headers_for(str(target))
        try:
            with self._pool.stream(
                "GET", _core_url(target), headers=[*_HEADERS, *condition], extensions=_TIMEOUT
            ) as response:
                found = _Headers(response.headers)
                if response.status in REDIRECTS and found["location"]:
                    return found["location"]
                if response.status == 304 and condition:
                    return None
                _check_status(response.status)
                content = _body(response, found, types, max_bytes)
                return Page(Known(str(target), found["etag"], found["last-modified"]), content, found.content_type)
        except ForbiddenAddressError as error:
            raise FetchError(FetchReason.FORBIDDEN_ADDRESS, str(error)) from error
        except httpcore.TimeoutException as error:
            limit = f"{self._settings.page_seconds:g} seconds (web.page_seconds)"
            raise FetchError(FetchReason.TIMED_OUT, f"It did not arrive within {limit}.") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, ssl.SSLError) as error:
            raise FetchError(FetchReason.UNREACHABLE, f"{target.host} does not answer properly ({error}).") from error

    def _pause(self, target: httpx.URL, is_exempt: bool) -> None:
        """Between two requests to one site: what the settings say, or the site asks for."""
        origin = _origin(target)
        asked = 0.0 if is_exempt else self._robots.delay_seconds(origin)
        wait = self._asked_at.get(origin, 0.0) + max(asked, self._settings.pause_seconds) - time.monotonic()
        if origin in self._asked_at and wait > 0:
            time.sleep(wait)
        self._asked_at[origin] = time.monotonic()


_HEADERS = [("User-Agent", f"{AGENT}/{metadata.version('housevoice')}"), ("Accept-Encoding", "gzip"), ("Accept", "*/*")]
_TIMEOUT = {"timeout": {"connect": CONNECT_SECONDS}}


class _Headers:
    """Response headers by lower-case name; "" where there is none."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._values = {name.lower().decode("latin-1"): value.decode("latin-1").strip() for name, value in raw}

    def __getitem__(self, name: str) -> str:
        return self._values.get(name, "")

    @property
    def content_type(self) -> str:
        return self["content-type"].partition(";")[0].strip().lower()


def _check_status(status: int) -> None:
    if status in GONE:
        raise FetchError(FetchReason.GONE, f"The page is gone ({status}).", status)
    if not 200 <= status < 300:
        raise FetchError(FetchReason.HTTP_ERROR, f"The site answered {status}.", status)


def _body(response: httpcore.Response, headers: _Headers, types: Iterable[str], max_bytes: int) -> bytes:
    if headers.content_type and not headers.content_type.startswith(tuple(types)):
        raise FetchError(FetchReason.UNSUPPORTED, f"It is {headers.content_type}, which is not read.")
    if headers["content-length"].isdigit() and int(headers["content-length"]) > max_bytes:
        raise too_large(max_bytes)
    encoding = headers["content-encoding"].lower()
    if encoding not in ENCODINGS:
        raise FetchError(FetchReason.UNSUPPORTED, f"It is encoded as {encoding}, which was not asked for.")
    chunks = response.iter_stream()
    return inflate(chunks, max_bytes) if ENCODINGS[encoding] else join(chunks, max_bytes)


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def _core_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
