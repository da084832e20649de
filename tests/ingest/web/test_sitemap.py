"""Sitemaps as bytes: what they list, and what they may not do."""

import gzip

import pytest

from ingest.web.inflate import inflate
from ingest.web.reasons import FetchError, FetchReason
from ingest.web.sitemap import list_pages, read_sitemap

NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
LIMIT = 50_000


def urlset(*pages: str) -> bytes:
    rows = "".join(f"<url><loc>{page}</loc></url>" for page in pages)
    return f"<?xml version='1.0'?><urlset {NAMESPACE}>{rows}</urlset>".encode()


def index(*sitemaps: str) -> bytes:
    rows = "".join(f"<sitemap><loc> {address} </loc></sitemap>" for address in sitemaps)
    return f"<sitemapindex {NAMESPACE}>{rows}</sitemapindex>".encode()


def reason_of(data: bytes) -> FetchReason:
    with pytest.raises(FetchError) as raised:
        read_sitemap(data, LIMIT)
    return raised.value.reason


def test_pages_of_all_forms() -> None:
    pages = ("https://a.example/1", "https://a.example/2?x=1&amp;y=2")
    expected = ("https://a.example/1", "https://a.example/2?x=1&y=2")
    assert read_sitemap(urlset(*pages), LIMIT).pages == expected
    assert read_sitemap(gzip.compress(urlset(*pages)), LIMIT).pages == expected
    assert read_sitemap(b"https://a.example/1\n\n# no page\nhttps://a.example/2", LIMIT).pages == (
        *("https://a.example/1", "https://a.example/2"),
    )
    assert read_sitemap(index("https://a.example/s.xml"), LIMIT).sitemaps == ("https://a.example/s.xml",)


def test_pictures_of_a_page_are_no_pages() -> None:
    image = 'xmlns:image="http://www.google.com/schemas/sitemap-image/1.1"'
    data = f"<urlset {NAMESPACE} {image}><url><loc>https://a/1</loc><image:image><image:loc>https://a/x.png</image:loc>"
    assert read_sitemap(f"{data}</image:image></url></urlset>".encode(), LIMIT).pages == ("https://a/1",)


def test_a_bomb_is_not_unfolded() -> None:
    assert reason_of(gzip.compress(b"<urlset>" + b" " * 20_000_000)) == FetchReason.TOO_LARGE


def test_a_bomb_in_many_members_is_not_unfolded() -> None:
    members = [gzip.compress(b" " * 20_000)] * 5
    assert len(inflate(members, 100_000)) == 100_000
    with pytest.raises(FetchError, match="larger than 99,999"):
        inflate(members, 99_999)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><urlset><url><loc>&a;</loc></url></urlset>", FetchReason.UNSUPPORTED),
        (b"<!DOCTYPE x SYSTEM 'file:///etc/passwd'><urlset/>", FetchReason.UNSUPPORTED),
        (b"<urlset><url>", FetchReason.DAMAGED),
        (b"<rss><channel/></rss>", FetchReason.UNSUPPORTED),
        (gzip.compress(urlset("https://a/1"))[:-9], FetchReason.DAMAGED),
        (b"\x1f\x8bgarbage", FetchReason.DAMAGED),
    ],
)
def test_what_is_no_sitemap_says_why(data: bytes, reason: FetchReason) -> None:
    assert reason_of(data) == reason


def test_an_index_is_followed_once_and_not_for_ever() -> None:
    files = {
        "https://a.example/i.xml": index("https://a.example/s.xml", "https://a.example/i.xml", "https://a.example/no"),
        "https://a.example/s.xml": urlset("https://a.example/1#part", "https://A.example/1", "https://www.a.example/2"),
    }
    asked: list[str] = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        if url not in files:
            raise FetchError(FetchReason.GONE, "The page is gone (404).", 404)
        return files[url]

    listing = list_pages("https://a.example/i.xml", fetch, 10, LIMIT)
    assert list(listing.pages) == ["https://a.example/1", "https://www.a.example/2"]
    assert asked == ["https://a.example/i.xml", "https://a.example/s.xml", "https://a.example/no"]
    assert [(failure.path, failure.reason) for failure in listing.failures] == [("https://a.example/no", "gone")]
    assert not listing.is_complete


def test_other_hosts_and_other_kinds_of_address_are_not_taken() -> None:
    pages = ("https://evil.example/1", "file:///etc/passwd", "https://u:p@a.example/", "https://a.example/ok")
    listing = list_pages("https://a.example/s.xml", lambda _: urlset(*pages), 10, LIMIT)
    assert list(listing.pages) == ["https://a.example/ok"]
    assert [failure.path for failure in listing.failures] == list(pages[:3])
    assert listing.is_complete


def test_limits_on_pages_and_depth() -> None:
    many = urlset(*(f"https://a.example/{number}" for number in range(9)))
    listing = list_pages("https://a.example/s.xml", lambda _: many, 4, LIMIT)
    assert (len(listing.pages), listing.is_complete) == (4, False)
    deeper = iter(range(1000))
    listing = list_pages("https://a.example/s.xml", lambda _: index(f"https://a.example/{next(deeper)}"), 4, LIMIT)
    assert (next(deeper), listing.is_complete, listing.failures[0].reason) == (3, False, "too_many")
