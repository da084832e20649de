"""What the routes work with, wired once. The engine and the facts may still be loading; `readiness` says so."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from adapters.jobs.tables import TrainingTables
from adapters.registry import Registry
from config.models import ModelFile
from config.prompt import TurnFormat
from config.settings import Settings
from ingest.access.reader import Reader, Requirement
from ingest.access.rules import Rule
from ingest.documents import Chunk, Document, Embedder, Failure, IngestReport, Parity, Progress
from ingest.generations import IndexGenerations
from ingest.origins import Origin
from ingest.quarantine import Held
from ingest.runs import Run
from server.answer import Answerer, Retrieves
from server.brandbook import BrandBook
from server.condense import Condenser
from server.drift import DriftStore
from server.engine.messages import Engine
from server.failures import NotReadyError
from server.feedback import FeedbackStore
from server.keys import ApiKey, KeyStore
from server.metrics import IndexCounts, Metrics
from server.rates import RateLimiter
from server.records import RecordStore, RequestRecord
from server.sessions import SessionBook
from server.voices import Voices


class DocumentStore(Protocol):
    """The part of `ingest.store.FactStore` that routes use. Thread-safe; all calls may block."""

    def ingest_from(
        self,
        origin: Origin,
        knowledge_base: str,
        *,
        dry_run: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> IngestReport: ...

    def remove(self, knowledge_base: str, path: str | None = None) -> int: ...

    def runs(self, limit: int = 20) -> list[Run]: ...

    def run(self, run_id: str) -> Run:
        """Raises NotFoundError."""

    def root_of(self, document_id: str) -> str: ...

    def documents(self, knowledge_base: str | None = None) -> list[Document]: ...

    def document(self, document_id: str) -> Document:
        """Whoever asks. Raises NotFoundError."""

    def readable_document(self, document_id: str, knowledge_bases: tuple[str, ...], reader: Reader) -> Document:
        """Raises NotFoundError alike for one that does not exist and one that may not be read."""

    def requirements(self, document_ids: Sequence[str]) -> dict[str, Requirement]:
        """What each document asks of its readers; unknown documents are left out."""

    def access_rules(self, knowledge_base: str | None = None) -> list[Rule]: ...

    def restrict(self, knowledge_base: str, groups: tuple[str, ...]) -> None:
        """Only these groups may read the knowledge base, from the next query on."""

    def clear_access(self, rules: Sequence[Rule]) -> None:
        """Lift rules, from the next query on."""

    def quarantine(self, knowledge_base: str, path: str, note: str = "") -> Held:
        """Out at once, and out of every later run. Raises NotFoundError."""

    def lift_quarantine(self, knowledge_base: str, path: str) -> None:
        """Raises NotFoundError."""

    def quarantined(self, knowledge_base: str | None = None) -> list[Held]: ...

    def chunks(self, chunk_ids: Sequence[str]) -> dict[str, Chunk]:
        """Ids that are gone are left out."""

    def documents_by_id(self, document_ids: Sequence[str]) -> dict[str, Document]:
        """Ids that are gone are left out."""

    def chunks_of(self, document_id: str) -> list[Chunk]: ...

    def failures(self, knowledge_base: str | None = None) -> list[Failure]: ...

    def knowledge_bases(self) -> list[str]: ...

    def check_parity(self, sample: int = 50) -> Parity: ...

    def close(self) -> None: ...


class TokenVocabulary(Protocol):
    """The part of `server.engine.vocabulary.Vocabulary` that the API uses. Thread-safe."""

    @property
    def size(self) -> int: ...

    @property
    def context_length(self) -> int: ...

    @property
    def add_bos(self) -> bool: ...

    @property
    def bos_text(self) -> str: ...

    def encode(self, text: str, is_template: bool) -> list[int]:
        """Without BOS; marker text becomes special tokens only where is_template."""

    def count(self, text: str) -> int: ...

    def piece(self, token: int) -> bytes:
        """The token's bytes. Raises IndexError out of range."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What takes seconds to load: the index with its embedder, and the search over it.

    embedder: the configured one, for /v1/embeddings; the live generation may still have another of its own.
    generations: what `store` is, where it is made of generations.
    """

    store: DocumentStore
    retriever: Retrieves
    embedder: Embedder
    generations: IndexGenerations | None = None


@dataclass(slots=True)
class Services:
    """One of each. `facts` is set when loaded, `index` at each parity check, `is_draining` at the first SIGTERM.

    clock (Unix seconds) and new_id are seams: fixed in tests, so that a response's bytes can be compared.
    """

    settings: Settings
    base: ModelFile
    vocabulary: TokenVocabulary
    turn_format: TurnFormat
    engine: Engine
    registry: Registry
    brands: BrandBook
    keys: KeyStore
    records: RecordStore
    feedback: FeedbackStore
    drift: DriftStore
    training: TrainingTables
    facts: Facts | None = None
    index: IndexCounts | None = None
    is_draining: bool = False
    clock: Callable[[], int] = lambda: int(time.time())
    new_id: Callable[[], str] = lambda: secrets.token_hex(12)
    sessions: SessionBook = field(default_factory=SessionBook)
    started_unix_seconds: int = field(default_factory=lambda: int(time.time()))
    voices: Voices = field(init=False)
    answerer: Answerer = field(init=False)
    metrics: Metrics = field(init=False)
    rates: RateLimiter = field(init=False)

    def __post_init__(self) -> None:
        limit = min(self.settings.engine.max_request_tokens, self.vocabulary.context_length)
        engine_settings = self.settings.engine.model_copy(update={"max_request_tokens": limit})
        self.voices = Voices(self.base, self.brands, self.registry, self.knowledge_bases)
        self.metrics = Metrics(self.engine.status, lambda: self.index, self.drift.latest)
        self.rates = RateLimiter(self.settings.server.requests_per_minute_per_key)
        self.answerer = Answerer(
            self.engine,
            lambda: self.ready_facts().retriever,
            self.vocabulary,
            self.turn_format,
            engine_settings,
            self.record,
            Condenser(self.engine, self.vocabulary.encode, self.turn_format, self.settings.retrieval),
        )

    @property
    def max_request_tokens(self) -> int:
        return min(self.settings.engine.max_request_tokens, self.vocabulary.context_length)

    @property
    def embedder_name(self) -> str:
        """The model id of /v1/embeddings: the last part of the setting."""
        return self.settings.models.embedder.replace(":", "/").rstrip("/").rpartition("/")[2]

    def readiness(self) -> str:
        """Why requests cannot be answered now; empty where they can."""
        if self.is_draining:
            return "The server is shutting down."
        if self.facts is None:
            return "The document index is still loading."
        if not self.engine.status().is_ready:
            last_error = self.engine.status().last_error
            return f"The engine is starting. Its last error: {last_error}" if last_error else "The engine is starting."
        return ""

    def ready_facts(self) -> Facts:
        """Raises NotReadyError while they load."""
        if self.facts is None:
            raise NotReadyError("The document index is still loading.", "GET /readyz says when it is there.")
        return self.facts

    def generations(self) -> IndexGenerations:
        """Raises NotReadyError while the index loads."""
        generations = self.ready_facts().generations
        if generations is None:
            raise NotReadyError("This index has no generations.")
        return generations

    def require_ready(self) -> None:
        """Raises NotReadyError with the reason."""
        if reason := self.readiness():
            raise NotReadyError(reason, "GET /readyz says when requests are answered.")

    def knowledge_bases(self) -> list[str]:
        return self.facts.store.knowledge_bases() if self.facts else []

    def record(self, record: RequestRecord) -> None:
        self.metrics.count(record)
        self.drift.count(record)
        record.base_sha256 = self.base.sha256
        if not self.settings.storage.store_text:
            record.question = record.query = record.answer = record.user = ""
            record.metadata, record.search_filter = {}, {}
        self.records.write(record)

    def check_index(self) -> IndexCounts:
        """Count the three places and search for a sample. Blocks for a moment; also kept for /metrics."""
        parity, generations = self.ready_facts().store.check_parity(), self.ready_facts().generations
        self.index = IndexCounts(
            num_documents=len(self.ready_facts().store.documents()),
            num_chunks=parity.num_catalog,
            num_vectors=parity.num_vectors,
            num_lexical=parity.num_lexical,
            share_found=parity.num_found / parity.num_sampled if parity.num_sampled else 1.0,
            generation=generations.number if generations else 0,
            differs=tuple(generations.differences) if generations else (),
        )
        return self.index

    def readable_document(self, document_id: str, key: ApiKey) -> Document:
        """Raises NotFoundError alike for a document that does not exist and one that this key may not read."""
        knowledge_bases = tuple(sorted(self.voices.readable_knowledge_bases(key)))
        return self.ready_facts().store.readable_document(document_id, knowledge_bases, key.reader)

    async def close(self) -> None:
        await self.engine.stop()
        if self.facts:
            self.facts.store.close()
        self.records.close()
        self.feedback.close()
        self.drift.close()
        self.training.close()
        self.registry.close()
        self.keys.close()
