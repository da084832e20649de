"""Fixtures of the API tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.server.api.world import World, open_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """With the admin's key."""
    async with world.client(world.admin) as opened:
        yield opened
