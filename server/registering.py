"""How a new adapter file becomes a version: checked twice, copied in, not active yet."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from adapters.gguf_check import check_adapter
from adapters.registry import AdapterVersion, Card, file_sha256
from server.engine.messages import AdapterRef
from server.services import Services


async def register_checked(
    services: Services, brand: str, path: Path, card: Card, rows: Sequence[Path] = ()
) -> AdapterVersion:
    """First the file by itself, then four tokens in a process that may die of it. The same file again is the version
    that it already is. rows: what it was trained and validated on, kept for training it again. Raises BadRequestError
    with the reason why it cannot be used.
    """
    await asyncio.to_thread(check_adapter, path, services.base.path, services.base.sha256)
    sha256 = await asyncio.to_thread(file_sha256, path)
    await services.engine.check_adapter(AdapterRef(path.name, await asyncio.to_thread(path.absolute), sha256))
    return await asyncio.to_thread(services.registry.register, brand, path, card, rows)
