"""A small company for API tests: two brands, three documents, a fake engine on the real seams, two keys."""

import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastapi import FastAPI

from adapters.identity import Identity
from adapters.jobs.tables import TrainingTables
from adapters.registry import Registry
from config.chat_template import turn_format_from_template
from config.errors import NotFoundError
from config.models import ModelFile
from config.settings import Settings, load_settings
from ingest.access.reader import ANYONE, Reader, Requirement
from ingest.access.rules import Rule, RuleKind
from ingest.documents import Chunk, Document, Failure, IngestReport, Parity, Progress
from ingest.embed import HashEmbedder
from ingest.filters import EVERYTHING, SearchFilter
from ingest.origins import Origin
from ingest.quarantine import Held
from ingest.runs import Run
from server.application import create_app
from server.brandbook import BrandBook
from server.candidates import RetrievedSource
from server.drift import DriftStore
from server.engine.fake import FakeEngine, fake_vocabulary
from server.engine.messages import GenerateRequest
from server.feedback import FeedbackStore
from server.keys import KeyStore, NewKey
from server.records import RecordStore
from server.retrieval import Retrieval
from server.services import Facts, Services

BASE_URL = "http://localhost"
FIXED_TIME = 1_800_000_000
HALDEN = """
title = "Halden Desk"
knowledge_bases = ["company"]
system_prompt = "Reply as Halden."
refusal = "The documents do not state this."
"""
PIPKIN = """
title = "Pip"
knowledge_bases = ["catering"]
"""
PLAIN = """
title = "No documents"
system_prompt = "Be brief."
"""


def document(name: str, knowledge_base: str, title: str) -> Document:
    return Document(name, knowledge_base, f"{name}.md", title, "text/markdown", "0" * 8, 2, FIXED_TIME, FIXED_TIME)


def chunk(document_id: str, ordinal: int, text: str, location: str = "") -> Chunk:
    return Chunk(f"{document_id}-{ordinal}", document_id, ordinal, text, ("Terms",), location, len(text))


WARRANTY = document("warranty", "company", "Warranty H5")
MANUAL = document("manual", "company", "Manual <b>H5</b>")
MENU = document("menu", "catering", "Menu")
CHUNKS = {
    "warranty": [chunk("warranty", 0, "The H5 is covered for 36 months."), chunk("warranty", 1, "Gaskets: 12 months.")],
    "manual": [chunk("manual", 0, "Clean it with <script>alert(1)</script> soap.", "page 3")],
    "menu": [chunk("menu", 0, "Soup costs 4 EUR.")],
}


def source(number: int, of: Document, *ordinals: int) -> RetrievedSource:
    chunks = tuple(CHUNKS[of.document_id][ordinal] for ordinal in ordinals or (0,))
    text = "\n".join(item.text for item in chunks)
    return RetrievedSource(number, of, chunks, chunks[0].heading, chunks[0].location, text, len(text))


SOURCES = (source(1, WARRANTY), source(2, MANUAL), source(3, WARRANTY, 1))
"""What every question retrieves but those that hold the word "unknown". Numbers 1 and 3 are one document."""


class FixedRetriever:
    """Remembers the queries, who asked, and the filters. `sources` may be replaced."""

    def __init__(self) -> None:
        self.sources: tuple[RetrievedSource, ...] = SOURCES
        self.queries: list[str] = []
        self.readers: list[Reader] = []
        self.filters: list[SearchFilter] = []

    def retrieve(
        self,
        query: str,
        knowledge_bases: tuple[str, ...],
        reader: Reader = ANYONE,
        search_filter: SearchFilter = EVERYTHING,
    ) -> Retrieval:
        self.queries.append(query)
        self.readers.append(reader)
        self.filters.append(search_filter)
        sources = () if "unknown" in query else self.sources
        return Retrieval(query, sources, (), 0.8 if sources else 0.1, 0.001)


class FixedStore:
    """Three documents. An ingest reports one changed document; a folder named "bad" raises."""

    def __init__(self) -> None:
        self.ingested: list[Path] = []

    def ingest_from(
        self,
        origin: Origin,
        knowledge_base: str,
        *,
        dry_run: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> IngestReport:
        source = Path(origin.label)
        self.ingested.append(source)
        if source.name == "bad":
            raise NotFoundError(f"{source} went away.")
        if on_progress:
            on_progress(Progress("index", 1, 1, "warranty.md"))
        return IngestReport(
            "run", 0, 1, 0, 2, 4, 0.1, dry_run, (Failure("x.pdf", "damaged", "no trailer"),), 0, ("leave",)
        )

    def documents(self, knowledge_base: str | None = None) -> list[Document]:
        everything = [WARRANTY, MANUAL, MENU]
        return [item for item in everything if knowledge_base in (None, item.knowledge_base)]

    def document(self, document_id: str) -> Document:
        return next(item for item in self.documents() if item.document_id == document_id)

    def readable_document(self, document_id: str, knowledge_bases: tuple[str, ...], reader: Reader) -> Document:
        for item in self.documents():
            if item.document_id == document_id and item.knowledge_base in knowledge_bases:
                return item
        raise NotFoundError(f"There is no document {document_id!r}.")

    def requirements(self, document_ids: Sequence[str]) -> dict[str, Requirement]:
        return dict.fromkeys(document_ids, ())

    def access_rules(self, knowledge_base: str | None = None) -> list[Rule]:
        return [Rule("warranty", RuleKind.KNOWLEDGE_BASE, groups=("hr",))]

    def restrict(self, knowledge_base: str, groups: tuple[str, ...]) -> None:
        pass

    def clear_access(self, rules: Sequence[Rule]) -> None:
        pass

    def chunks(self, chunk_ids: Sequence[str]) -> dict[str, Chunk]:
        return {chunk.chunk_id: chunk for found in CHUNKS.values() for chunk in found if chunk.chunk_id in chunk_ids}

    def documents_by_id(self, document_ids: Sequence[str]) -> dict[str, Document]:
        return {item.document_id: item for item in self.documents() if item.document_id in document_ids}

    def chunks_of(self, document_id: str) -> list[Chunk]:
        return CHUNKS[document_id]

    def failures(self, knowledge_base: str | None = None) -> list[Failure]:
        return [Failure("x.pdf", "damaged", "no trailer")]

    def knowledge_bases(self) -> list[str]:
        return ["catering", "company"]

    def quarantine(self, knowledge_base: str, path: str, note: str = "") -> Held:
        return Held(knowledge_base, path, "", note, FIXED_TIME)

    def lift_quarantine(self, knowledge_base: str, path: str) -> None:
        pass

    def quarantined(self, knowledge_base: str | None = None) -> list[Held]:
        return []

    def remove(self, knowledge_base: str, path: str | None = None) -> int:
        return 1

    def runs(self, limit: int = 20) -> list[Run]:
        return []

    def run(self, run_id: str) -> Run:
        raise NotFoundError(f"There is no ingest run {run_id!r}.")

    def root_of(self, document_id: str) -> str:
        return "/documents"

    def check_parity(self, sample: int = 50) -> Parity:
        return Parity(4, 4, 4, 4, 4)

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class World:
    services: Services
    app: FastAPI
    engine: FakeEngine
    retriever: FixedRetriever
    store: FixedStore
    admin: NewKey
    reader: NewKey

    def client(self, key: NewKey | None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {key.text}"} if key else {}
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url=BASE_URL, headers=headers)


def settings_in(folder: Path, training: Mapping[str, object] | None = None, **server: object) -> Settings:
    settings = load_settings(environment={"HOUSEVOICE_DATA_DIR": str(folder / "data")})
    changed = {
        "server": settings.server.model_copy(update=server),
        "training": settings.training.model_copy(update=dict(training or {})),
    }
    return settings.model_copy(update=changed)


def brands_in(folder: Path) -> Path:
    brands = folder / "brands"
    brands.mkdir(exist_ok=True)
    for name, text in {"halden": HALDEN, "pipkin": PIPKIN, "plain": PLAIN}.items():
        (brands / f"{name}.toml").write_text(text, encoding="utf-8")
    return brands


@asynccontextmanager
async def open_world(
    folder: Path,
    answer: str | Callable[[GenerateRequest], str] = "It is [1].",
    *,
    reader_brands: Sequence[str] = ("halden",),
    facts: Facts | None = None,
    training: Mapping[str, object] | None = None,
    **server: object,
) -> AsyncIterator[World]:
    """Everything ready. `server` and `training` override settings of these sections, `facts` the fixed documents."""
    settings = settings_in(folder, training, **server)
    settings.data.create()
    vocabulary, engine, retriever, store = fake_vocabulary(), FakeEngine(answer), FixedRetriever(), FixedStore()
    counter = itertools.count(1)
    services = Services(
        settings=settings,
        base=ModelFile("tiny-base", folder / "base.gguf", "ba5e" * 16, 1),
        vocabulary=vocabulary,
        turn_format=turn_format_from_template(vocabulary.chat_template, vocabulary.bos_text, vocabulary.eos_text),
        engine=engine,
        registry=Registry.open(settings.data, Identity("ba5e" * 16)),
        brands=BrandBook(brands_in(folder)),
        keys=KeyStore.open(settings.data),
        records=RecordStore.open(settings.data),
        feedback=FeedbackStore.open(settings.data),
        drift=DriftStore.open(settings.data, settings.drift),
        training=TrainingTables.open(settings.data),
        facts=facts or Facts(store, retriever, HashEmbedder()),
        clock=lambda: FIXED_TIME,
        new_id=lambda: f"{next(counter):024d}",
    )
    await engine.start()
    for name in ("admin", "reader"):  # a world opened again on the same folder
        if any(key.name == name for key in services.keys.live_keys()):
            services.keys.revoke(name)
    admin = services.keys.create("admin", "admin")
    reader = services.keys.create("reader", "reader", tuple(reader_brands))
    yield World(services, create_app(services), engine, retriever, store, admin, reader)
    await services.close()
