"""The sample company in one go: its documents into the index, its brands' trained adapters into the registry."""

import json
import logging
from pathlib import Path

from adapters.gguf_check import check_adapter
from adapters.registry import Registry
from config.errors import BadRequestError
from config.models import ModelFile
from config.settings import SAMPLE
from ingest.documents import IngestReport
from ingest.store import FactStore

KNOWLEDGE_BASE = "company"
DOCUMENTS = SAMPLE / "documents"
ADAPTERS = SAMPLE / "adapters"
ADAPTER_FILE, CARD_FILE = "adapter.gguf", "card.json"
logger = logging.getLogger(__name__)


def bring_in_documents(store: FactStore) -> IngestReport:
    """Incremental as every ingest: the second start finds nothing to do."""
    return store.ingest(DOCUMENTS, KNOWLEDGE_BASE)


def bring_in_adapters(registry: Registry, base: ModelFile) -> list[str]:
    """Register and activate what a brand lacks; returns the new versions' names.

    A brand with any version of its own is left as its owner set it. With another base than the one they were trained
    for, the shipped adapters are left out and the brands use their prompts.
    """
    names = []
    for folder in sorted(file.parent for file in ADAPTERS.glob(f"*/{ADAPTER_FILE}")):
        if registry.versions(folder.name):
            continue
        try:
            names.append(_bring_in(folder, registry, base))
        except BadRequestError as error:
            logger.warning("The sample adapter %s is not used: %s", folder.name, error)
    return names


def _bring_in(folder: Path, registry: Registry, base: ModelFile) -> str:
    check_adapter(folder / ADAPTER_FILE, base.path, base.sha256)
    card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    version = registry.register(folder.name, folder / ADAPTER_FILE, card)
    return registry.activate(version.brand, version.version).name
