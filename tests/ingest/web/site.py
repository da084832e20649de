"""A small web site on this machine: what it answers is set page by page, what it was asked is remembered."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(slots=True)
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "text/html"})
    etag: str = ""
    drip_seconds: float = 0.0
    """Between the bytes of the body."""


@dataclass(slots=True)
class Site:
    """asked: (path, headers) of each request, in order. Unknown paths are answered 404."""

    port: int = 0
    scheme: str = "http"
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def page(self, path: str, text: str, etag: str = "") -> None:
        body = f"<html><title>{path}</title><body><p>{text}</p></body></html>"
        self.answers[path] = Answer(body.encode(), etag=etag)

    def redirect(self, path: str, location: str, status: int = 302) -> None:
        self.answers[path] = Answer(status=status, headers={"Location": location})

    @property
    def paths(self) -> list[str]:
        """What was asked for, but for robots.txt."""
        return [path for path, _ in self.asked if path != "/robots.txt"]


@contextmanager
def running_site(address: str = "127.0.0.1", context: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            site.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            answer = site.answers.get(self.path, Answer(b"nothing here", 404))
            is_known = bool(answer.etag) and self.headers["If-None-Match"] == answer.etag
            self.send_response(304 if is_known else answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.etag:
                self.send_header("ETag", answer.etag)
            body = b"" if is_known else answer.body
            if "Content-Length" not in answer.headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self._send(body, answer.drip_seconds)

        def _send(self, body: bytes, drip_seconds: float) -> None:
            try:
                for part in [bytes([byte]) for byte in body] if drip_seconds else [body]:
                    self.wfile.write(part)
                    self.wfile.flush()
                    time.sleep(drip_seconds)
            except OSError:
                self.close_connection = True  # the other side has had enough

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer((address, port), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        site.scheme = "https"
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
