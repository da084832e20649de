"""A site that may be fetched from, and settings without pauses."""

from collections.abc import Iterator

import pytest

from config.settings import WebSettings, load_settings
from tests.ingest.web.site import Site, running_site


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as opened:
        yield opened


@pytest.fixture
def web_settings() -> WebSettings:
    changes = {"allow": ("127.0.0.1",), "pause_seconds": 0.0, "max_page_bytes": 100_000, "page_seconds": 60.0}
    return load_settings(environment={}).web.model_copy(update=changes)
