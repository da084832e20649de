"""Pages and sitemaps as a source: list, fetch what has changed, drop what has gone, read the rest from files."""

from collections.abc import Sequence
from typing import Protocol

from config.settings import WebSettings
from ingest.documents import Failure, IngestReport, Progress
from ingest.origins import OnProgress
from ingest.scan import Source
from ingest.web.fetch import Known, Page, normal
from ingest.web.pages import PageStore
from ingest.web.reasons import FetchError, FetchReason
from ingest.web.sitemap import Listing, list_pages


class Fetches(Protocol):
    """The part of `ingest.web.fetch.Fetcher` that is used here. Both raise FetchError."""

    def page(self, url: str, known: Known | None = None) -> Page | None: ...

    def sitemap(self, url: str) -> bytes: ...

    def close(self) -> None: ...


class WebOrigin:
    """The listed pages are fetched; all kept pages of the knowledge base are the source.

    A page answered with 404 or 410 is removed, and so is one that its sitemap no longer lists (where all of that
    sitemap could be read). One that cannot be got for any other reason stays as it was, and is reported.
    """

    def __init__(
        self, urls: Sequence[str], sitemap: str | None, pages: PageStore, fetcher: Fetches, settings: WebSettings
    ) -> None:
        self._urls = urls
        self._sitemap = sitemap
        self._pages = pages
        self._fetcher = fetcher
        self._settings = settings
        self._unfetched: frozenset[str] = frozenset()

    @property
    def label(self) -> str:
        first = self._sitemap or self._urls[0]
        return first if len(self._urls) < 2 else f"{first} and {len(self._urls) - 1} more"

    def find(self, known_roots: Sequence[str], on_progress: OnProgress) -> Source:
        try:
            listing = self._list(on_progress)
            urls = list(listing.pages)
            for num_done, url in enumerate(urls):
                on_progress(Progress("fetch", num_done, len(urls), url))
                listing.failures += self._fetch(url)
            on_progress(Progress("fetch", len(urls), len(urls), ""))
        finally:
            self._fetcher.close()
        self._drop_unlisted(listing)
        self._unfetched = frozenset(failure.path for failure in listing.failures)
        return Source(
            str(self._pages.root), tuple(self._pages.files()), is_whole=True, failures=tuple(listing.failures)
        )

    def settle(self, report: IngestReport) -> None:
        """What could not be read is not kept either, so that it is fetched anew when it is asked for again."""
        for failure in report.failures:
            if failure.path not in self._unfetched:
                self._pages.remove(failure.path)

    def _list(self, on_progress: OnProgress) -> Listing:
        if self._sitemap:
            on_progress(Progress("fetch", 0, 0, self._sitemap))
            limits = self._settings
            return list_pages(self._sitemap, self._fetcher.sitemap, limits.max_pages, limits.max_page_bytes)
        listing = Listing()
        for url in self._urls:
            try:
                listing.pages[normal(url)] = None
            except FetchError as error:
                listing.fail(error.failure(url))
        for url in list(listing.pages)[self._settings.max_pages :]:
            del listing.pages[url]
            detail = f"More than {self._settings.max_pages} pages are listed (web.max_pages)."
            listing.fail(Failure(url, str(FetchReason.TOO_MANY), detail))
        return listing

    def _fetch(self, url: str) -> list[Failure]:
        kept = self._pages.page(url)
        try:
            page = self._fetcher.page(url, kept.known if kept else None)
        except FetchError as error:
            if error.reason == FetchReason.GONE and kept is not None:
                self._pages.remove(url)
                return []
            return [error.failure(url)]
        if page is not None:
            self._pages.keep(url, page, self._sitemap or (kept.listed_by if kept else ""))
        elif kept is not None and self._sitemap and kept.listed_by != self._sitemap:
            self._pages.relist(kept, self._sitemap)
        return []

    def _drop_unlisted(self, listing: Listing) -> None:
        if not self._sitemap or not listing.is_complete:
            return
        for page in self._pages.pages():
            if page.listed_by == self._sitemap and page.url not in listing.pages:
                self._pages.remove(page.url)
