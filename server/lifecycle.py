"""Opening and closing what the server works with. The two slow parts, engine and facts, load at the same time."""

import asyncio
import logging

from adapters.identity import identity_of
from adapters.jobs.tables import TrainingTables
from adapters.registry import Registry
from config.chat_template import turn_format_from_template
from config.models import resolve_base
from config.prompt import TurnFormat
from config.settings import Settings
from server.brandbook import BrandBook
from server.drift import DriftStore
from server.engine.client import EngineClient
from server.engine.storage import EngineStorage
from server.engine.vocabulary import Vocabulary
from server.feedback import FeedbackStore
from server.index_work import open_generations
from server.keys import KeyStore
from server.live_retriever import LiveRetriever
from server.records import RecordStore
from server.reranking import open_reranker
from server.retrieval import Retriever
from server.sample import bring_in_adapters, bring_in_documents
from server.services import Facts, Services

PARITY_SECONDS = 3600.0
logger = logging.getLogger(__name__)


def open_services(settings: Settings) -> Services:
    """Everything that is quick to open. The caller holds the data directory's lock. Raises HousevoiceError."""
    base = resolve_base(settings)
    vocabulary = Vocabulary.open(base.path)
    data = settings.data
    storage = EngineStorage(data.facts, base.sha256, data.step_times, data.weight_copies)
    return Services(
        settings=settings,
        base=base,
        vocabulary=vocabulary,
        turn_format=turn_format_of(vocabulary),
        engine=EngineClient(base.path, settings.engine, storage),
        registry=Registry.open(settings.data, identity_of(base)),
        brands=BrandBook(settings.brands_dir),
        keys=KeyStore.open(settings.data),
        records=RecordStore.open(settings.data),
        feedback=FeedbackStore.open(settings.data),
        drift=DriftStore.open(settings.data, settings.drift),
        training=TrainingTables.open(settings.data),
    )


def turn_format_of(vocabulary: Vocabulary) -> TurnFormat:
    return turn_format_from_template(
        vocabulary.chat_template, vocabulary.bos_text, vocabulary.eos_text, add_bos=vocabulary.add_bos
    )


async def load(services: Services, *, with_sample: bool = False) -> None:
    """Start the engine and load the facts. Raises the first HousevoiceError of either."""
    await asyncio.to_thread(settle_versions, services.registry)
    async with asyncio.TaskGroup() as group:
        group.create_task(services.engine.start())
        facts = group.create_task(asyncio.to_thread(_load_facts, services, with_sample))
    services.facts = facts.result()


def settle_versions(registry: Registry) -> None:
    """What waited for this start: versions for the base that is served now, and files that nothing needs any more.

    A version in use that does not fit what is served is told here; its brand refuses until it is trained again.
    """
    for name in registry.activate_staged():
        logger.warning("%s waited for this base and is active now.", name)
    for name in registry.delete_retired_files():
        logger.warning("The file of the retired %s is deleted.", name)
    for version in registry.versions():
        if version.is_active and (reason := registry.mismatch(version)):
            logger.error("%s It is not used. %s", reason, registry.how_to_retrain(version))
    for canary in registry.canaries().values():
        if registry.canary(canary.brand) is None:
            logger.error("The canary %s does not fit what is served; nobody gets it.", canary.name)


def _load_facts(services: Services, with_sample: bool) -> Facts:
    """Seconds, most of them imports: hence in a thread of its own."""
    settings = services.settings
    generations = open_generations(settings, services.vocabulary.count)
    generations.recover()
    if with_sample:
        bring_in_adapters(services.registry, services.base)
        logger.info("Sample company: %s", bring_in_documents(generations.live).summary)
    reranker = open_reranker(settings)
    retriever = LiveRetriever(generations, lambda store: Retriever(store, settings.retrieval, reranker))
    return Facts(generations, retriever, generations.shelf.configured, generations)


async def watch_index(services: Services) -> None:
    """Check now and every hour that what is found by id is found by search; the result is a metric."""
    while True:
        try:
            counts = await asyncio.to_thread(services.check_index)
            if counts.share_found < 1 or counts.num_chunks != counts.num_vectors:
                logger.error("The index is incomplete: %s. Run housevoice index verify.", counts)
        except Exception:
            logger.exception("The index could not be checked")
        await asyncio.sleep(PARITY_SECONDS)
