"""One page at a time, from real servers on this machine: where it may go, and how far."""

import gzip
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.settings import WebSettings
from ingest.web.connection import Resolver, resolve
from ingest.web.fetch import Fetcher, Known, Page, normal
from ingest.web.reasons import FetchError, FetchReason
from tests.ingest.web.site import Answer, Site, running_site

MakeFetcher = Callable[..., Fetcher]


@pytest.fixture
def make(web_settings: WebSettings) -> Iterator[MakeFetcher]:
    """A fetcher with some settings changed."""
    opened: list[Fetcher] = []

    def make_it(resolver: Resolver = resolve, ssl_context: ssl.SSLContext | None = None, **changes: object) -> Fetcher:
        opened.append(Fetcher(web_settings.model_copy(update=changes), resolver, ssl_context))
        return opened[-1]

    yield make_it
    for fetcher in opened:
        fetcher.close()


def reason_of(fetcher: Fetcher, url: str) -> FetchReason:
    with pytest.raises(FetchError) as raised:
        fetcher.page(url)
    return raised.value.reason


def test_a_page_comes_with_what_is_needed_to_ask_again(make: MakeFetcher, site: Site) -> None:
    site.page("/a", "Soup", etag='"1"')
    page = make().page(site.url("/a#part"))
    assert isinstance(page, Page)
    assert b"<p>Soup</p>" in page.content
    assert (page.content_type, page.known.etag, page.known.url) == ("text/html", '"1"', site.url("/a"))
    assert make().page(site.url("/a"), page.known) is None
    assert site.asked[-1][1]["if-none-match"] == '"1"'
    assert site.asked[-1][1]["user-agent"].startswith("housevoice/")


def test_loopback_is_not_fetched_from_unless_it_is_allowed(make: MakeFetcher, site: Site) -> None:
    site.page("/a", "secret")
    fetcher = make(allow=())
    spellings = ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "0.0.0.0")
    for host in spellings:
        assert reason_of(fetcher, site.url("/a", host)) == FetchReason.FORBIDDEN_ADDRESS, host
    assert site.asked == []


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "169.254.169.254", "64:ff9b::10.0.0.1", "2002:a00:1::1", "::ffff:192.168.0.1", "fe80::1"]
)
def test_one_forbidden_address_of_a_name_is_enough(make: MakeFetcher, site: Site, address: str) -> None:
    fetcher = make(lambda host, port: ["127.0.0.1", address])
    assert reason_of(fetcher, site.url("/a", "host.example")) == FetchReason.FORBIDDEN_ADDRESS
    assert site.asked == []


def test_a_redirect_to_a_forbidden_address_is_not_followed(make: MakeFetcher, site: Site) -> None:
    with running_site("127.0.0.2") as inside:
        inside.page("/secret", "secret")
        site.redirect("/a", inside.url("/secret", "127.0.0.2"))
        assert reason_of(make(), site.url("/a")) == FetchReason.FORBIDDEN_ADDRESS
        assert inside.asked == []


def test_an_answer_of_the_dns_that_changes_does_not_help(make: MakeFetcher, site: Site) -> None:
    """Rebinding: the first answer is allowed, all later ones lead inside. Each connection is checked anew."""
    with running_site("127.0.0.2", port=site.port) as inside:
        inside.page("/a", "secret")
        answers = iter(["127.0.0.1"])
        site.answers["/robots.txt"] = Answer(b"", headers={"Content-Type": "text/plain", "Connection": "close"})
        fetcher = make(lambda host, port: [next(answers, "127.0.0.2")])
        assert reason_of(fetcher, site.url("/a", "rebind.example")) == FetchReason.FORBIDDEN_ADDRESS
        assert [path for path, _ in site.asked] == ["/robots.txt"]
        assert inside.asked == []


def test_the_checked_address_is_the_one_that_is_connected_to(make: MakeFetcher, site: Site) -> None:
    """The name is resolved once a connection, and never again by anybody below."""
    num_asked = 0

    def once(host: str, port: int) -> list[str]:
        nonlocal num_asked
        num_asked += 1
        return ["127.0.0.1"] if num_asked == 1 else ["127.0.0.2"]

    site.page("/a", "public")
    site.answers["/robots.txt"] = Answer(b"", headers={"Content-Type": "text/plain"})
    page = make(once).page(site.url("/a", "no-such-name.invalid"))
    assert page
    assert b"public" in page.content
    assert num_asked == 1
    assert site.asked[-1][1]["host"] == f"no-such-name.invalid:{site.port}"


def test_the_name_stays_in_tls(make: MakeFetcher, tmp_path: Path) -> None:
    """SNI and the certificate's name are those of the host, although the connection is made to an address."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here to make a certificate")
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tls.example"),
            *("-addext", "subjectAltName=DNS:tls.example", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with running_site(context=context) as secure:
        secure.page("/a", "over TLS")
        fetcher = make(lambda host, port: ["127.0.0.1"], trusting)
        page = fetcher.page(secure.url("/a", "tls.example"))
        assert page
        assert b"over TLS" in page.content
        assert set(names) == {"tls.example"}
        assert reason_of(fetcher, secure.url("/a", "other.example")) == FetchReason.UNREACHABLE
        assert len([path for path, _ in secure.asked if path == "/a"]) == 1


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", FetchReason.UNSUPPORTED),
        ("ftp://host/x", FetchReason.UNSUPPORTED),
        ("http://user:secret@host/", FetchReason.UNSUPPORTED),
        ("gopher:x", FetchReason.UNSUPPORTED),
        ("http://", FetchReason.UNSUPPORTED),
        ("http://[::1", FetchReason.UNSUPPORTED),
    ],
)
def test_what_is_no_web_address(make: MakeFetcher, url: str, reason: FetchReason) -> None:
    assert reason_of(make(), url) == reason


def test_one_page_has_one_address() -> None:
    assert normal(" HTTP://Example.COM:80/a?b=c#d ") == "http://example.com/a?b=c"
    assert normal("https://b\u00fccher.example/\u00e4") == "https://xn--bcher-kva.example/%C3%A4"


def test_redirects_have_an_end_and_keep_their_rules(make: MakeFetcher, site: Site) -> None:
    site.redirect("/a", "/b")
    site.redirect("/b", site.url("/c"), 308)
    site.page("/c", "there")
    site.redirect("/loop", "/loop")
    site.redirect("/file", "file:///etc/passwd")
    fetcher = make()
    page = fetcher.page(site.url("/a"))
    assert page
    assert page.known.url == site.url("/c")
    assert reason_of(fetcher, site.url("/loop")) == FetchReason.REDIRECTS
    assert reason_of(fetcher, site.url("/file")) == FetchReason.UNSUPPORTED
    assert site.paths.count("/loop") == 6


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(b"x" * 100_001), FetchReason.TOO_LARGE),
        (Answer(b"", headers={"Content-Length": "100001"}), FetchReason.TOO_LARGE),
        (Answer(gzip.compress(b" " * 5_000_000), headers={"Content-Encoding": "gzip"}), FetchReason.TOO_LARGE),
        (Answer(b"x", headers={"Content-Encoding": "br"}), FetchReason.UNSUPPORTED),
        (Answer(b"x", headers={"Content-Encoding": "gzip"}), FetchReason.DAMAGED),
        (Answer(b"x", headers={"Content-Type": "video/mp4"}), FetchReason.UNSUPPORTED),
        (Answer(b"x", 404), FetchReason.GONE),
        (Answer(b"x", 410), FetchReason.GONE),
        (Answer(b"x", 500), FetchReason.HTTP_ERROR),
        (Answer(b"x", 403), FetchReason.HTTP_ERROR),
        (Answer(b"", 304), FetchReason.HTTP_ERROR),
        (Answer(b"short", headers={"Content-Length": "99", "Connection": "close"}), FetchReason.UNREACHABLE),
    ],
    ids=lambda value: value.name if isinstance(value, FetchReason) else "",
)
def test_what_comes_wrong_says_why(make: MakeFetcher, site: Site, answer: Answer, reason: FetchReason) -> None:
    site.answers["/a"] = answer
    assert reason_of(make(), site.url("/a")) == reason


def test_compressed_pages_are_unpacked(make: MakeFetcher, site: Site) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "text/plain; charset=utf-8"}
    site.answers["/a"] = Answer(gzip.compress(b"plain text"), headers=headers)
    page = make().page(site.url("/a"))
    assert page
    assert (page.content, page.content_type) == (b"plain text", "text/plain")


def test_a_server_that_drips_does_not_hold_us(make: MakeFetcher, site: Site) -> None:
    """Each byte comes well within a timeout of one read; all of them together would take minutes."""
    site.answers["/robots.txt"] = Answer(b"", 404)
    site.answers["/a"] = Answer(b"x" * 10_000, drip_seconds=0.05)
    assert reason_of(make(page_seconds=1.5), site.url("/a")) == FetchReason.TIMED_OUT


def test_nobody_there(make: MakeFetcher) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a"
        assert reason_of(make(), url) == FetchReason.UNREACHABLE
        with pytest.raises(FetchError) as raised:
            make().sitemap(url)
    assert raised.value.reason == FetchReason.UNREACHABLE


@pytest.mark.parametrize(
    ("status", "text", "allowed"),
    [
        (200, "User-agent: *\nDisallow: /private", ["/a"]),
        (200, "User-agent: housevoice\nDisallow: /\n\nUser-agent: *\nAllow: /", []),
        (200, "User-agent: other\nDisallow: /", ["/a", "/private"]),
        (404, "", ["/a", "/private"]),
        (503, "", []),
    ],
)
def test_robots_txt_is_honoured(make: MakeFetcher, site: Site, status: int, text: str, allowed: list[str]) -> None:
    site.answers["/robots.txt"] = Answer(text.encode(), status, {"Content-Type": "text/plain"})
    fetcher = make()
    for path in ("/a", "/private"):
        site.page(path, "text")
        if path in allowed:
            assert fetcher.page(site.url(path))
        else:
            assert reason_of(fetcher, site.url(path)) == FetchReason.ROBOTS
    assert site.paths == allowed
    assert len(site.asked) == len(allowed) + 1


def test_validators_go_only_to_where_they_came_from(make: MakeFetcher, site: Site) -> None:
    site.page("/a", "text")
    assert make().page(site.url("/a"), Known("http://elsewhere.example/", '"9"', "yesterday"))
    assert "if-none-match" not in site.asked[-1][1]
    assert "if-modified-since" not in site.asked[-1][1]
