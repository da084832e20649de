"""Reach a running server, or open the data directory ourselves when there is none."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from config.environment import prepare_environment
from config.errors import HousevoiceError, NotFoundError, OverloadedError
from config.settings import Settings
from ingest.store import FactStore


@dataclass(frozen=True, slots=True)
class Server:
    """A running server's admin API. `url` has no trailing slash."""

    url: str
    key: str

    def get(self, path: str, **params: str | int) -> Any:
        return self._json("GET", path, params=params)

    def post(self, path: str, body: dict[str, object]) -> Any:
        return self._json("POST", path, json=body)

    def delete(self, path: str) -> Any:
        return self._json("DELETE", path)

    def post_lines(self, path: str, body: dict[str, object]) -> Iterator[dict[str, Any]]:
        """The lines of an NDJSON answer as they arrive."""
        for line in self._lines(path, body):
            if line.strip():
                yield json.loads(line)

    def post_events(self, path: str, body: dict[str, object]) -> Iterator[dict[str, Any]]:
        """The data of a server-sent event stream as it arrives, without the closing [DONE]."""
        for line in self._lines(path, body):
            data = line.removeprefix("data: ")
            if data != line and data != "[DONE]":
                yield json.loads(data)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def _lines(self, path: str, body: dict[str, object]) -> Iterator[str]:
        try:
            with (
                httpx.Client(headers=self._headers, timeout=None) as client,
                client.stream("POST", self.url + path, json=body) as response,
            ):
                if response.is_error:
                    response.read()
                    raise _error(response)
                yield from response.iter_lines()
        except httpx.HTTPError as error:
            raise HousevoiceError(f"The server at {self.url} does not answer ({error}).", "Is it running?") from error

    def _json(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = httpx.request(method, self.url + path, headers=self._headers, timeout=600, **options)
        except httpx.HTTPError as error:
            raise HousevoiceError(f"The server at {self.url} does not answer ({error}).", "Is it running?") from error
        if response.is_error:
            raise _error(response)
        return response.json()


def find_server(settings: Settings) -> Server | None:
    """The server named by HOUSEVOICE_URL, else the one that owns the data directory, else None."""
    owner = settings.data.owner()
    url = os.environ.get("HOUSEVOICE_URL", owner.url if owner else "")
    if not url:
        return None
    return Server(url.rstrip("/"), os.environ.get("HOUSEVOICE_API_KEY") or _local_key(settings))


def require_server(settings: Settings) -> Server:
    server = find_server(settings)
    if server is None:
        raise NotFoundError(
            f"No server runs on {settings.data.root}.", hint="Start one with: housevoice serve (or: make run)"
        )
    return server


@contextmanager
def own_store(settings: Settings, role: str) -> Iterator[FactStore]:
    """Open the facts without a server, holding the data directory's lock meanwhile."""
    prepare_environment()
    with settings.data.own(role):
        store = open_store(settings)
        store.recover()
        try:
            yield store
        finally:
            store.close()


def open_store(settings: Settings) -> FactStore:
    """The caller holds the data directory's lock."""
    from config.models import resolve_base, resolve_embedder
    from ingest.embed import load_embedder
    from server.engine.vocabulary import Vocabulary

    vocabulary = Vocabulary.open(resolve_base(settings).path)
    embedder = load_embedder(resolve_embedder(settings), settings.ingest.embed_threads, settings.ingest.embed_batch)
    return FactStore.open(settings.data, settings.ingest, embedder, vocabulary.count)


def _local_key(settings: Settings) -> str:
    try:
        return settings.data.local_key.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise HousevoiceError(
            f"No key: {settings.data.local_key} cannot be read ({error.strerror}).", "Set HOUSEVOICE_API_KEY."
        ) from error


def _error(response: httpx.Response) -> HousevoiceError:
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = response.text[:200]
    if response.status_code == 429:
        return OverloadedError(str(message).removesuffix(" Retry later."))
    return HousevoiceError(f"The server answered {response.status_code}: {message}")
