"""Reach a running server, or open the data directory ourselves when there is none."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from config.brands import Brand, load_brands
from config.environment import prepare_environment
from config.errors import ConfigError, HousevoiceError, NotFoundError, OverloadedError
from config.settings import Settings
from ingest.generations import IndexGenerations
from ingest.store import FactStore


@dataclass(frozen=True, slots=True)
class Server:
    """A running server's admin API. `url` has no trailing slash."""

    url: str
    key: str

    def get(self, path: str, **params: str | int | list[str]) -> Any:
        return self._json("GET", path, params=params)

    def post(self, path: str, body: dict[str, object]) -> Any:
        return self._json("POST", path, json=body)

    def put(self, path: str, body: dict[str, object]) -> Any:
        return self._json("PUT", path, json=body)

    def delete(self, path: str, **params: str | bool) -> Any:
        return self._json("DELETE", path, params=params)

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
    """The live index generation without a server, holding the data directory's lock meanwhile."""
    with own_generations(settings, role) as generations:
        yield generations.live


@contextmanager
def own_generations(settings: Settings, role: str, *, needs_embedder: bool = True) -> Iterator[IndexGenerations]:
    """All index generations without a server, holding the data directory's lock meanwhile."""
    prepare_environment()
    from config.models import resolve_base
    from server.engine.vocabulary import Vocabulary
    from server.index_work import open_generations

    with settings.data.own(role):
        vocabulary = Vocabulary.open(resolve_base(settings).path)
        generations = open_generations(settings, vocabulary.count, needs_embedder=needs_embedder)
        generations.recover()
        try:
            yield generations
        finally:
            generations.close()


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


def brand_of(settings: Settings, name: str) -> Brand:
    """From its file, without a server. Raises ConfigError that names the others."""
    brands = load_brands(settings.brands_dir)
    if name not in brands:
        raise ConfigError(f"There is no brand {name!r} in {settings.brands_dir}.", f"Known: {', '.join(brands)}.")
    return brands[name]
