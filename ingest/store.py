"""The facade over all facts: one object that the server and the command line use to ingest and to search."""

import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from config.brands import NAME
from config.datadir import DataDirectory
from config.errors import BadRequestError, NotFoundError
from config.settings import IngestSettings
from ingest.access.check import AccessCheck, Readable
from ingest.access.keeper import AccessKeeper
from ingest.access.reader import ADMIN, Reader, Requirement
from ingest.access.rules import Rule
from ingest.catalog import Catalog
from ingest.chunk import ChunkSizes
from ingest.disk import clear_disk_errors
from ingest.documents import Chunk, Document, Embedder, Failure, Hit, IngestReport, Parity, Progress
from ingest.filters import EVERYTHING, UNRESTRICTED, SearchFilter, SearchScope
from ingest.labels import Labels
from ingest.lexical import Fts5Index
from ingest.origins import FolderOrigin, OnProgress, Origin
from ingest.patterns import Selection
from ingest.pipeline import Pipeline
from ingest.quarantine import Held, Quarantine
from ingest.runs import Run, RunBook
from ingest.selection import DocumentSelector
from ingest.tables import FactTables
from ingest.uploads import Uploads
from ingest.vectors import ChromaIndex
from ingest.web.pages import PageStore
from ingest.writer import IndexWriter

SEARCHES_BESIDE = 4
"""Searches by words that run at once; more wait."""

SELF_SEARCH = 10
"""Nearest neighbours among which a chunk must find itself; more than one, as equal texts have equal vectors."""


@dataclass(frozen=True, slots=True)
class StoreParts:
    """What maintenance works on (`ingest.follow`, `ingest.verify`); everybody else uses the store."""

    tables: FactTables
    catalog: Catalog
    vectors: ChromaIndex
    lexical: Fts5Index
    embedder: Embedder
    writer: IndexWriter
    pipeline: Pipeline
    access: AccessKeeper
    labels: Labels


class FactStore:
    """Catalog, vectors, words and embedder of one data directory.

    The caller holds the directory (`DataDirectory.own`). Thread-safe: ingest and remove take turns, reads and searches
    go on meanwhile and see each document whole, before or after.
    """

    def __init__(
        self,
        files: DataDirectory,
        settings: IngestSettings,
        tables: FactTables,
        vectors: ChromaIndex,
        embedder: Embedder,
        pipeline: "PipelineMaker",
    ) -> None:
        self._files = files
        self._settings = settings
        self._tables = tables
        self._vectors = vectors
        self._embedder = embedder
        self._catalog = Catalog(tables)
        self._lexical = Fts5Index(tables)
        self._labels = Labels(tables)
        self._selector = DocumentSelector(tables)
        self._check = AccessCheck(tables)
        self._access = AccessKeeper(tables, self._catalog, vectors)
        self._writer = IndexWriter(tables, self._catalog, vectors, self._lexical, embedder, self._access, self._labels)
        self._quarantine = Quarantine(tables)
        self._pipeline = pipeline(self._catalog, self._writer, self._access, self._quarantine)
        self._writing = threading.Lock()
        self._beside = ThreadPoolExecutor(SEARCHES_BESIDE, "lexical")
        self._runs = RunBook(tables)
        self.parts = StoreParts(
            tables,
            self._catalog,
            vectors,
            self._lexical,
            embedder,
            self._writer,
            self._pipeline,
            self._access,
            self._labels,
        )
        self._writer.heal()
        self._labels.rank(self._catalog.documents(self._labels.unranked()).values())

    @staticmethod
    def open(
        data: DataDirectory,
        settings: IngestSettings,
        embedder: Embedder,
        count_tokens: Callable[[str], int],
        *,
        files: DataDirectory | None = None,
        keeps_older: bool = False,
    ) -> "FactStore":
        """Open or create, and mend what a killed process left. `count_tokens` counts in the base model's tokens.

        files: where uploads and pages are kept, if not in `data`. keeps_older: unchanged files stay as an older parser
        or chunker of ours made them.
        """
        data.create()
        sizes = ChunkSizes(settings.chunk_tokens, embedder.max_tokens, count_tokens, embedder.count_tokens)

        def make(catalog: Catalog, writer: IndexWriter, access: AccessKeeper, held: Quarantine) -> Pipeline:
            identity = embedder.identity
            return Pipeline(settings, catalog, writer, sizes, identity, access, held, keeps_older=keeps_older)

        vectors = ChromaIndex(data.chroma, embedder.identity)
        return FactStore(files or data, settings, FactTables(data.database), vectors, embedder, make)

    def recover(self) -> None:
        """Once, at the start of the process that owns the data directory: no run and no upload goes on yet, so what
        looks like one was killed.
        """
        self._runs.mark_interrupted()
        Uploads(self._files).clear_incoming()

    def ingest(
        self,
        source: Path,
        knowledge_base: str,
        *,
        dry_run: bool = False,
        on_progress: OnProgress | None = None,
        selection: Selection | None = None,
    ) -> IngestReport:
        """Bring the knowledge base up to date with a folder (what has gone from it is removed) or one file.

        selection: which files of the folder count; what it leaves out is removed like what has gone. Default: all but
        what `ingest.exclude` names. Raises BadRequestError for a source that does not exist or a name that is none.
        Files that fail are in the report. A run that is interrupted is resumed by the next one; what it had indexed
        stays.
        """
        chosen = selection or Selection(self._settings.include, self._settings.exclude)
        return self.ingest_from(FolderOrigin(source, chosen), knowledge_base, dry_run=dry_run, on_progress=on_progress)

    def ingest_from(
        self, origin: Origin, knowledge_base: str, *, dry_run: bool = False, on_progress: OnProgress | None = None
    ) -> IngestReport:
        """The same for any source. The run and its report are kept, unless it is a dry run."""
        checked_name(knowledge_base)
        run_id = uuid.uuid4().hex[:12]
        tell = on_progress or (lambda _: None)
        with self._writing, clear_disk_errors(self._tables.path.parent):
            self._writer.heal()
            if dry_run:
                return self._pipeline.run(origin, knowledge_base, run_id, dry_run=True, on_progress=tell)
            self._runs.start(run_id, knowledge_base, origin.label)

            def advance(progress: Progress) -> None:
                self._runs.advance(run_id, progress)
                tell(progress)

            try:
                report = self._pipeline.run(origin, knowledge_base, run_id, dry_run=False, on_progress=advance)
                origin.settle(report)
            except BaseException as error:
                self._runs.stop(run_id, error)
                raise
            self._runs.finish(report)
            return report

    def runs(self, limit: int = 20) -> list[Run]:
        """The latest first, without the single failures."""
        return self._runs.runs(limit)

    def run(self, run_id: str) -> Run:
        """Raises NotFoundError."""
        return self._runs.run(run_id)

    def remove(self, knowledge_base: str, path: str | None = None) -> int:
        """Remove one document, or all of the knowledge base. Returns how many there were.

        Files of the operator's stay; those that were kept here for the document (an upload, a page) go first, so that
        one who was killed half-way can be told to do it again.
        """
        with self._writing, clear_disk_errors(self._tables.path.parent):
            entries = self._catalog.entries(knowledge_base)
            chosen = [entry for entry in entries if path is None or entry.state.path == path]
            for entry in chosen:
                Uploads(self._files).remove(entry.state.root, entry.state.path)
                PageStore(self._files, knowledge_base).remove_of(entry.state.root, entry.state.path)
            self._writer.remove([entry.document.document_id for entry in chosen])
            for item in self._catalog.failures(knowledge_base):
                if path is None or item.state.path == path:
                    self._catalog.forget_failure(knowledge_base, item.state.path)
            return len(chosen)

    def quarantine(self, knowledge_base: str, path: str, note: str = "") -> Held:
        """Take a document out at once, also while a run goes on, and keep it out of every later one: this path, and
        this content under any other. Its file stays where it is. Raises NotFoundError for what is not indexed.
        """
        document = next((item for item in self.documents(knowledge_base) if item.path == path), None)
        if document is None:
            raise NotFoundError(
                f"There is no document {path!r} in {knowledge_base!r}.", hint="housevoice search shows the paths."
            )
        held = self._quarantine.hold(knowledge_base, path, document.content_hash, note)
        same = [item for item in self.documents(knowledge_base) if item.content_hash == document.content_hash]
        self._writer.remove([item.document_id for item in same])
        return held

    def lift_quarantine(self, knowledge_base: str, path: str) -> None:
        """The next run over its folder takes it in again. Raises NotFoundError where it is not held."""
        if not self._quarantine.lift(knowledge_base, path):
            raise NotFoundError(
                f"{path!r} in {knowledge_base!r} is not quarantined.", hint="housevoice quarantine list shows what is."
            )

    def quarantined(self, knowledge_base: str | None = None) -> list[Held]:
        return self._quarantine.held(knowledge_base)

    def root_of(self, document_id: str) -> str:
        """The folder that a document was found in; "" for an unknown one."""
        return self._catalog.root_of(document_id)

    def documents(self, knowledge_base: str | None = None, reader: Reader = ADMIN) -> list[Document]:
        """By knowledge base and path: those that the reader may see."""
        return self._shown([entry.document for entry in self._catalog.entries(knowledge_base)], reader)

    def document(self, document_id: str) -> Document:
        """By its id, or by one that it had before it was renamed. Raises NotFoundError."""
        for key in (document_id, self._catalog.current_id(document_id)):
            found = self._catalog.documents([key])
            if found:
                return found[key]
        raise NotFoundError(f"There is no document {document_id}.", "document_not_found")

    def documents_by_id(self, document_ids: Sequence[str]) -> dict[str, Document]:
        """Ids that are gone are left out."""
        return self._catalog.documents(document_ids)

    def chunks_of(self, document_id: str) -> list[Chunk]:
        """In reading order; empty for an unknown document."""
        return self._catalog.chunks_of([document_id])

    def chunks(self, chunk_ids: Sequence[str]) -> dict[str, Chunk]:
        """Ids that are gone are left out: a search may find what is being removed."""
        return self._catalog.chunks(chunk_ids)

    def chunks_beside(self, chunks: Sequence[Chunk], reader: Reader) -> list[Chunk]:
        """Those directly after and before each of these in its document, these themselves left out. A document may have
        changed since it was searched: what the reader may not see by now is left out too.
        """
        places = [(chunk.document_id, chunk.ordinal + step) for chunk in chunks for step in (1, -1)]
        own = {chunk.chunk_id for chunk in chunks}
        found = [chunk for chunk in self._catalog.chunks_at(places) if chunk.chunk_id not in own]
        documents = self._catalog.documents(sorted({chunk.document_id for chunk in found}))
        shown = {document.document_id for document in self._shown(list(documents.values()), reader)}
        return [chunk for chunk in found if chunk.document_id in shown]

    def failures(self, knowledge_base: str | None = None) -> list[Failure]:
        """Files that the last run over them could not index, and access rules that no file states any more."""
        refused = [item.failure for item in self._catalog.failures(knowledge_base)]
        return [*refused, *self._access.problems(knowledge_base)]

    def knowledge_bases(self) -> list[str]:
        return self._catalog.knowledge_bases()

    def readable(
        self, knowledge_bases: tuple[str, ...], reader: Reader, search_filter: SearchFilter = EVERYTHING
    ) -> Readable:
        """What of these somebody may read now, and wishes to: ask before each search, and search by the answer."""
        found = self._check.readable(knowledge_bases, reader)
        chosen = self._selector.select(search_filter, found.knowledge_bases, found.scope.readable_labels)
        return replace(found, scope=replace(found.scope, document_ids=chosen))

    def readable_document(self, document_id: str, knowledge_bases: tuple[str, ...], reader: Reader) -> Document:
        """Raises NotFoundError alike for one that does not exist and one that may not be read."""
        found = self._catalog.current_id(document_id)
        if not self._check.may_read(found, knowledge_bases, reader):
            raise NotFoundError(f"There is no document {document_id!r}.")
        return self.document(found)

    def requirements(self, document_ids: Sequence[str]) -> dict[str, Requirement]:
        """What each document asks of its readers; unknown documents are left out."""
        return self._check.requirements(document_ids)

    def access_rules(self, knowledge_base: str | None = None) -> list[Rule]:
        return self._access.rules(knowledge_base)

    def restrict(self, knowledge_base: str, groups: tuple[str, ...]) -> None:
        """Only these groups may read the knowledge base, from the next query on."""
        self._access.restrict(checked_name(knowledge_base), groups)

    def clear_access(self, rules: Sequence[Rule]) -> None:
        """Lift rules, from the next query on. What an access file or a document still says comes back with a run."""
        self._access.clear(rules)

    def search_dense(
        self, query: str, knowledge_bases: tuple[str, ...], limit: int, scope: SearchScope = UNRESTRICTED
    ) -> list[Hit]:
        """By meaning; `score` is the cosine similarity."""
        hits = self._vectors.search(self._embedder.embed([query]), knowledge_bases, limit, scope)
        return self._check.without_hidden(hits, scope)

    def search_lexical(
        self, query: str, knowledge_bases: tuple[str, ...], limit: int, scope: SearchScope = UNRESTRICTED
    ) -> list[Hit]:
        """By words; `score` is BM25, larger is better."""
        return self._lexical.search(query, knowledge_bases, limit, scope)

    def search_both(
        self, query: str, knowledge_bases: tuple[str, ...], limit: int, scope: SearchScope = UNRESTRICTED
    ) -> tuple[list[Hit], list[Hit]]:
        """By meaning and by words, side by side: both spend their time outside of Python."""
        lexical = self._beside.submit(self.search_lexical, query, knowledge_bases, limit, scope)
        dense = self.search_dense(query, knowledge_bases, limit, scope) if query.strip() else []
        return dense, lexical.result()

    def newer_versions(
        self, document_ids: Sequence[str], reader: Reader, among: frozenset[str] | None = None
    ) -> dict[str, Document]:
        """For each of these that is superseded, the document that takes its place: one that says so, or else the
        newest version by name. What the reader may not see counts as if it did not exist.

        among: the documents that may be named here; None for every document.
        """
        asked = self._catalog.documents(document_ids)
        bases = tuple(sorted({document.knowledge_base for document in asked.values()}))
        readable = self._check.readable(bases, reader)
        old = [key for key, document in asked.items() if document.knowledge_base in readable.knowledge_bases]
        newer = self._labels.newer(old, replace(readable.scope, document_ids=among))
        documents = self._catalog.documents(sorted(set(newer.values())))
        return {key: documents[new] for key, new in newer.items() if new in documents}

    def _shown(self, documents: list[Document], reader: Reader) -> list[Document]:
        """By the rules of now; a document that has gone meanwhile counts as one that nobody may read."""
        if reader.reads_everything:
            return documents
        asked = self._check.requirements([document.document_id for document in documents])
        return [item for item in documents if reader.meets(asked.get(item.document_id, ((),)))]

    def check_parity(self, sample: int = 50) -> Parity:
        """Compare the counts of catalog, vectors and words, and let a random sample of chunks find themselves."""
        chunk_ids = self._catalog.sample_chunk_ids(sample)
        bases = tuple(self.knowledge_bases())
        vectors = self._vectors.fetch(chunk_ids)
        num_found = 0
        for chunk_id, vector in vectors.items():
            hits = self._vectors.search(vector, bases, SELF_SEARCH)
            num_found += any(hit.chunk_id == chunk_id for hit in hits) or is_crowded(hits)
        counts = (self._catalog.count_chunks(), self._vectors.count(), self._lexical.count())
        return Parity(*counts, num_sampled=len(chunk_ids), num_found=num_found)

    def close(self) -> None:
        """Wait for a running ingest, then release all files."""
        with self._writing:
            self._beside.shutdown()
            self._vectors.close()
            self._tables.close()


PipelineMaker = Callable[[Catalog, IndexWriter, AccessKeeper, Quarantine], Pipeline]


def checked_name(knowledge_base: str) -> str:
    """Raises BadRequestError for what is no name of a knowledge base."""
    if not NAME.fullmatch(knowledge_base):
        raise BadRequestError(
            f"{knowledge_base!r} is no name for a knowledge base.",
            "knowledge_base",
            hint="Use lower-case letters, digits, '.', '_' and '-'.",
        )
    return knowledge_base


def is_crowded(hits: Sequence[Hit]) -> bool:
    """So many chunks have this very text that the one in question may be ranked behind the limit."""
    return len(hits) == SELF_SEARCH and hits[-1].score > 0.9999
