"""Web pages as documents: first run, unchanged run, edits, pages that have gone, trouble on the way."""

import gzip
from collections.abc import Callable
from pathlib import Path

from config.datadir import DataDirectory
from config.settings import WebSettings
from ingest.documents import IngestReport
from ingest.store import FactStore
from ingest.web.fetch import Fetcher
from ingest.web.origin import WebOrigin
from ingest.web.pages import PageStore
from tests.ingest.web.site import Answer, Site

OpenStore = Callable[[], FactStore]
XML = {"Content-Type": "application/xml"}


class Web:
    """Runs of one knowledge base."""

    def __init__(self, store: FactStore, tmp_path: Path, settings: WebSettings) -> None:
        self.store = store
        self.pages = PageStore(DataDirectory(tmp_path / "data"), "kb")
        self._settings = settings

    def ingest(self, *urls: str, sitemap: str | None = None) -> IngestReport:
        origin = WebOrigin(urls, sitemap, self.pages, Fetcher(self._settings), self._settings)
        return self.store.ingest_from(origin, "kb")

    @property
    def paths(self) -> list[str]:
        return [document.path for document in self.store.documents("kb")]

    def finds(self, word: str) -> bool:
        return bool(self.store.search_lexical(word, ("kb",), 5))


def sitemap_of(site: Site, *paths: str) -> Answer:
    rows = "".join(f"<url><loc>{site.url(path)}</loc></url>" for path in paths)
    return Answer(gzip.compress(f"<urlset>{rows}</urlset>".encode()), headers=XML)


def test_pages_become_documents_and_stay_current(
    open_store: OpenStore, site: Site, web_settings: WebSettings, tmp_path: Path
) -> None:
    web = Web(open_store(), tmp_path, web_settings)
    site.page("/hours", "The canteen opens at noon.", etag='"1"')
    site.answers["/plain"] = Answer(b"The gate code is 4711.", headers={"Content-Type": "text/plain"})
    urls = (site.url("/hours"), site.url("/plain"))
    assert web.ingest(*urls).summary == "+2 ~0 -0, 0 unchanged"
    assert web.paths == list(urls)
    assert web.store.documents("kb")[0].title == "/hours"
    assert web.store.documents("kb")[0].media_type == "text/html"
    assert web.finds("noon")
    assert web.finds("4711")

    assert web.ingest(*urls).summary == "+0 ~0 -0, 2 unchanged"
    assert site.asked[-2][1]["if-none-match"] == '"1"'

    site.page("/hours", "The canteen opens at one.", etag='"2"')
    assert web.ingest(urls[0]).summary == "+0 ~1 -0, 1 unchanged"
    assert not web.finds("noon")

    site.answers["/plain"] = Answer(b"", 410)
    report = web.ingest(*urls)
    assert (report.summary, report.failures) == ("+0 ~0 -1, 1 unchanged", ())
    assert web.paths == [urls[0]]
    assert [page.url for page in web.pages.pages()] == [urls[0]]
    assert not web.finds("4711")
    assert web.store.check_parity(100).is_good


def test_trouble_leaves_what_is_there_and_is_reported(
    open_store: OpenStore, site: Site, web_settings: WebSettings, tmp_path: Path
) -> None:
    web = Web(open_store(), tmp_path, web_settings)
    site.page("/a", "Soup on Monday.")
    web.ingest(site.url("/a"))
    site.answers["/a"] = Answer(b"", 500)
    site.answers["/empty"] = Answer(b"<html><body> </body></html>")
    report = web.ingest(site.url("/a"), site.url("/empty"), site.url("/none"), "ftp://x/y")
    assert report.summary == "+0 ~0 -0, 1 unchanged"
    assert [(failure.path, failure.reason) for failure in report.failures] == [
        ("ftp://x/y", "unsupported"),
        (site.url("/a"), "http_error"),
        (site.url("/empty"), "no_text"),
        (site.url("/none"), "gone"),
    ]
    assert web.finds("soup")
    assert len(web.store.failures("kb")) == 4
    site.page("/a", "Soup on Monday.")
    assert web.ingest(site.url("/a")).failures == ()
    assert web.store.failures("kb") == []


def test_a_sitemap_is_followed_as_it_changes(
    open_store: OpenStore, site: Site, web_settings: WebSettings, tmp_path: Path
) -> None:
    web = Web(open_store(), tmp_path, web_settings)
    for path, word in {"/1": "alpha", "/2": "beta", "/3": "gamma", "/own": "delta"}.items():
        site.page(path, f"This is about {word}.")
    rows = "".join(f"<sitemap><loc>{site.url(path)}</loc></sitemap>" for path in ("/s1.xml.gz", "/s2.xml.gz"))
    site.answers["/sitemap.xml"] = Answer(f"<sitemapindex>{rows}</sitemapindex>".encode(), headers=XML)
    site.answers["/s1.xml.gz"] = sitemap_of(site, "/1", "/2")
    site.answers["/s2.xml.gz"] = sitemap_of(site, "/3")
    sitemap = site.url("/sitemap.xml")
    web.ingest(site.url("/own"))
    assert web.ingest(sitemap=sitemap).summary == "+3 ~0 -0, 1 unchanged"

    site.answers["/s1.xml.gz"] = sitemap_of(site, "/1")
    site.answers["/s2.xml.gz"] = Answer(b"", 500)
    report = web.ingest(sitemap=sitemap)
    assert report.summary == "+0 ~0 -0, 4 unchanged"
    assert [failure.path for failure in report.failures] == [site.url("/s2.xml.gz")]

    site.answers["/s2.xml.gz"] = sitemap_of(site)
    assert web.ingest(sitemap=sitemap).summary == "+0 ~0 -2, 2 unchanged"
    assert web.paths == sorted([site.url("/1"), site.url("/own")])
    assert not web.finds("gamma")


def test_a_bomb_among_the_sitemaps_costs_only_itself(
    open_store: OpenStore, site: Site, web_settings: WebSettings, tmp_path: Path
) -> None:
    web = Web(open_store(), tmp_path, web_settings)
    bomb = gzip.compress(b"<urlset>" + b" " * 10_000_000)
    assert len(bomb) < web_settings.max_page_bytes
    site.answers["/bomb.xml.gz"] = Answer(bomb, headers={"Content-Type": "application/gzip"})
    report = web.ingest(sitemap=site.url("/bomb.xml.gz"))
    assert [failure.reason for failure in report.failures] == ["too_large"]
    assert report.num_added == 0


def test_removing_a_document_removes_the_page(
    open_store: OpenStore, site: Site, web_settings: WebSettings, tmp_path: Path
) -> None:
    web = Web(open_store(), tmp_path, web_settings)
    site.page("/a", "Soup")
    web.ingest(site.url("/a"))
    assert web.store.remove("kb", site.url("/a")) == 1
    assert not list(web.pages.root.iterdir())
    assert not web.finds("soup")


def test_too_many_addresses_are_cut(
    open_store: OpenStore, site: Site, web_settings: WebSettings, tmp_path: Path
) -> None:
    web = Web(open_store(), tmp_path, web_settings.model_copy(update={"max_pages": 1}))
    site.page("/a", "Soup")
    report = web.ingest(site.url("/a"), site.url("/a#again"), site.url("/b"))
    assert report.num_added == 1
    assert [(failure.path, failure.reason) for failure in report.failures] == [(site.url("/b"), "too_many")]
