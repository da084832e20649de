"""Facts computed ahead of use, while nobody asks: popular sources first, then those of new documents.

Each is asked for as a question would ask for it, by a request of one token that nobody reads, so the engine needs to
know nothing of this. What is known already costs a restore. One source at a time: a question that comes meanwhile waits
for the rest of its computation at most.
"""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from config.prompt import Conversation, Source, Turn, render
from ingest.documents import Chunk, Document
from server.candidates import RetrievedSource
from server.engine.messages import EngineStatus, FailedEvent, FailureKind, GenerateRequest, Scope
from server.fact_reading import FactReading
from server.metrics import IndexCounts
from server.numbering import with_lasting_numbers
from server.packing import source_of
from server.scopes import source_scope
from server.services import Services

QUIET_SECONDS = 3.0
"""How long nobody must have asked anything."""
LOOK_SECONDS = 1.0
NUM_GLANCES, GLANCE_SECONDS = 10, 0.05
NUM_REQUESTS, NUM_POPULAR = 2_000, 64
NUM_AT_ONCE = 64
"""Sources that are read from the catalog before they are asked for."""
FULL_SHARE = 0.9
"""Of a level's budget: what is asked for must not be pushed out by what may be asked for."""
log = logging.getLogger(__name__)


class Warmer:
    """Runs beside the server for as long as it lives; used from the event loop only."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings.engine
        self._done: set[str] = set()
        """Chunks that were asked for, whatever came of it: each has one try."""
        self._num_prompt_tokens = -1
        self._num_quiet_looks = 0
        self._finished: tuple[int, IndexCounts | None] | None = None
        """What stood when nothing was left to do: prompt tokens read, and the index as it was last counted."""

    async def run(self) -> None:
        if self._settings.fact_layout == "exact" or not self._settings.fact_ahead:
            return
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                if self._is_quiet(self._services.engine.status()) and self.has_news():
                    await self.warm()
            except Exception:
                log.exception("Facts could not be computed ahead of use")

    async def warm(self) -> int:
        """Until somebody asks, the budget is used, or everything is done. Returns how many sources were asked for."""
        num_asked = 0
        while sources := await asyncio.to_thread(self._next_sources):
            for source in sources:
                if not await self._is_free():
                    return num_asked
                if self._is_full(self._services.engine.status()):
                    self._note_finished()
                    return num_asked
                chunk_id = source.chunks[0].chunk_id
                if not await self._ask(source, f"ahead-{chunk_id}"):
                    return num_asked
                self._done.add(chunk_id)
                num_asked += 1
        self._note_finished()
        return num_asked

    def has_news(self) -> bool:
        """Since nothing was left to do: has somebody asked, or was the index counted again, as after each ingest?"""
        if self._finished is None:
            return True
        num_prompt_tokens, index = self._finished
        is_same = num_prompt_tokens == self._services.engine.status().num_prompt_tokens
        return not is_same or index is not self._services.index

    def _note_finished(self) -> None:
        self._finished = self._services.engine.status().num_prompt_tokens, self._services.index

    def _next_sources(self) -> list[RetrievedSource]:
        return list(islice(self._wanted(), NUM_AT_ONCE)) if self._is_used() else []

    def _is_used(self) -> bool:
        """Does anybody read sources as blocks? See `server.fact_reading`."""
        services = self._services
        reading = FactReading(services.engine, self._settings)
        active = [services.registry.active(brand) for brand in services.brands.brands()]
        return any(reading.layout_for(version) == "blocks" for version in (None, *active))

    async def _is_free(self) -> bool:
        """The engine's state comes a little after its last event."""
        for _ in range(NUM_GLANCES):
            if not self._is_busy(self._services.engine.status()):
                return True
            await asyncio.sleep(GLANCE_SECONDS)
        return False

    def _is_quiet(self, status: EngineStatus) -> bool:
        """Nobody has asked anything for a while. The warmer's own requests do not count."""
        is_same = status.num_prompt_tokens == self._num_prompt_tokens and not self._is_busy(status)
        self._num_prompt_tokens = status.num_prompt_tokens
        self._num_quiet_looks = self._num_quiet_looks + 1 if is_same else 0
        return self._num_quiet_looks * LOOK_SECONDS >= QUIET_SECONDS

    def _is_busy(self, status: EngineStatus) -> bool:
        is_asked = status.num_running + status.num_queued > 0
        return bool(is_asked or self._services.readiness() or status.facts.layout != "blocks")

    def _is_full(self, status: EngineStatus) -> bool:
        """The disk is the larger level; without one, memory."""
        facts, settings = status.facts, self._settings
        if settings.fact_disk_bytes:
            return facts.num_disk_bytes >= FULL_SHARE * settings.fact_disk_bytes
        return facts.num_memory_bytes >= FULL_SHARE * settings.fact_memory_bytes

    def _wanted(self) -> Iterator[RetrievedSource]:
        """Blocks: reads the catalog."""
        store = self._services.ready_facts().store
        popular = self._services.records.popular_chunks(NUM_REQUESTS, NUM_POPULAR)
        chunks = store.chunks([chunk_id for chunk_id in popular if chunk_id not in self._done])
        documents = store.documents_by_id(sorted({chunk.document_id for chunk in chunks.values()}))
        for chunk_id in popular:
            if chunk_id in chunks and chunks[chunk_id].document_id in documents:
                yield self._source(chunks[chunk_id], documents[chunks[chunk_id].document_id])
        for document in self._new_documents():
            for chunk in store.chunks_of(document.document_id):
                if chunk.chunk_id not in self._done and chunk.chunk_id not in chunks:
                    yield self._source(chunk, document)

    def _new_documents(self) -> list[Document]:
        """Those indexed since this server started, the newest first."""
        documents = self._services.ready_facts().store.documents()
        since = self._services.started_unix_seconds
        new = [document for document in documents if document.indexed_unix_seconds >= since]
        return sorted(new, key=lambda document: -document.indexed_unix_seconds)

    def _source(self, chunk: Chunk, document: Document) -> RetrievedSource:
        (source,) = with_lasting_numbers([source_of(chunk, document)])
        return source

    async def _ask(self, source: RetrievedSource, request_id: str) -> bool:
        """False where the engine is too busy for it, or gone."""
        async for event in self._services.engine.generate(await asyncio.to_thread(self._request, source, request_id)):
            if isinstance(event, FailedEvent):
                log.debug("%s was not computed ahead of use: %s", request_id, event.message)
                return event.kind in (FailureKind.BAD_REQUEST, FailureKind.TOO_LONG)
        return True

    def _request(self, source: RetrievedSource, request_id: str) -> GenerateRequest:
        """The prompt of a question, cut behind its source."""
        services, document_id = self._services, source.document.document_id
        asked = services.ready_facts().store.requirements([document_id]).get(document_id, ((),))
        shown = Source(source.number, source.document.title, source.heading, source.text)
        prompt = render(Conversation((Turn("user", "?"),), (shown,)), services.turn_format, services.vocabulary.encode)
        scope = source_scope(replace(source, requirement=asked))
        return GenerateRequest(
            request_id,
            prompt.tokens[: prompt.sources_end + 1],
            1,
            scopes=(Scope(prompt.fact_bounds[0], scope),) if scope else (),
            fact_bounds=prompt.fact_bounds,
            fact_documents=(document_id,),
        )
