"""Connections that go exactly where they were allowed to go, and end in time.

A name is resolved once for each connection, every address it has is judged, and the connection is made to the address
itself. So an answer of the DNS that changes between check and connection ("rebinding") changes nothing. The host name
stays in the Host header and in TLS, where the certificate is checked against it.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore

from config.errors import HousevoiceError
from ingest.web.addresses import Allowed, parse_address

Resolver = Callable[[str, int], list[str]]
"""(host, port) to addresses. Raises OSError."""


class ForbiddenAddressError(HousevoiceError):
    """The host has an address that is not of the public internet and that nobody allowed."""


class Deadline:
    """One point in time for everything that a page needs; a server that sends a byte now and then does not move it."""

    def __init__(self) -> None:
        self._at = float("inf")

    def start(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def remaining(self, timeout: float | None) -> float:
        """Seconds for the next operation. Raises httpcore.ReadTimeout where none are left."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("The time for this page is over.")
        return left if timeout is None else min(left, timeout)


def resolve(host: str, port: int) -> list[str]:
    """By the system. Odd spellings ("0x7f.1", "2130706433") come out as the addresses they are."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class CheckedBackend(httpcore.NetworkBackend):
    """The network as far as it is allowed. `deadline` bounds all its operations."""

    def __init__(self, allowed: Allowed, resolver: Resolver, deadline: Deadline) -> None:
        self._allowed = allowed
        self._resolver = resolver
        self._deadline = deadline
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """To the first address that answers. Raises ForbiddenAddressError if any one may not be connected to."""
        error: Exception = httpcore.ConnectError(f"{host} has no address.")
        for address in self._checked(host, port):
            try:
                stream = self._network.connect_tcp(address, port, self._deadline.remaining(timeout), local_address)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
            else:
                return _TimedStream(stream, self._deadline)
        raise error

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        raise ForbiddenAddressError(f"{path} is a socket of this machine.")

    def _checked(self, host: str, port: int) -> list[str]:
        try:
            addresses = self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"The name {host} is not known ({error}).") from error
        for address in addresses:
            if not self._allowed.allows(host, parse_address(address)):
                raise ForbiddenAddressError(
                    f"{host} has the address {address}, which is not of the public internet.",
                    "If it is one of your own, add it to web.allow.",
                )
        return addresses


class _TimedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.remaining(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.remaining(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secure = self._stream.start_tls(ssl_context, server_hostname, self._deadline.remaining(timeout))
        return _TimedStream(secure, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
