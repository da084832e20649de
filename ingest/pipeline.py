"""One ingest run: scan, compare, parse in workers, chunk, and hand groups of documents to the writer.

Workers parse the next files while this thread chunks and embeds the ones before. Files are taken in the order of their
paths, and written in that order.
"""

import hashlib
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from config.settings import IngestSettings
from ingest.access.keeper import AccessKeeper
from ingest.catalog import Catalog, Entry, FailedFile
from ingest.chunk import CHUNKER_VERSION, ChunkDraft, ChunkSizes, chunk_document
from ingest.documents import Chunk, Document, Failure, IngestReport, Progress
from ingest.labels import labels_of
from ingest.parse.dispatch import PARSER_VERSION
from ingest.parse.limits import limits_of
from ingest.parse.pool import ParsePool
from ingest.parse.reasons import ParseError
from ingest.parse.wire import Parsed
from ingest.scan import Plan, SourceFile, compare, find_source, hash_file
from ingest.writer import IndexWriter, Prepared

GROUP_CHUNKS = 128
"""Chunks embedded and written together: several batches of like length, and one commit."""

LOOK_AHEAD = 4
"""Files in parsing beyond those that the workers hold, so that none waits for the embedder."""

OnProgress = Callable[[Progress], None]


def document_id_of(knowledge_base: str, path: str) -> str:
    """By place, not by content, so that links survive edits."""
    return hashlib.sha256(f"{knowledge_base}\0{path}".encode()).hexdigest()[:16]


def chunk_id_of(document_id: str, content_hash: str, recipe: str, ordinal: int) -> str:
    """By content and recipe, so that a chunk with the same id always has the same text."""
    return hashlib.sha256(f"{document_id}\0{content_hash}\0{recipe}\0{ordinal}".encode()).hexdigest()[:20]


def chunks_from(drafts: Sequence[ChunkDraft], document_id: str, content_hash: str, recipe: str) -> tuple[Chunk, ...]:
    """Drafts with their identity."""
    return tuple(
        Chunk(
            chunk_id=chunk_id_of(document_id, content_hash, recipe, ordinal),
            document_id=document_id,
            ordinal=ordinal,
            text=draft.text,
            heading_path=draft.heading_path,
            location=draft.location,
            num_tokens=draft.num_tokens,
        )
        for ordinal, draft in enumerate(drafts)
    )


@dataclass(slots=True)
class Tally:
    """What a run has done so far."""

    num_added: int = 0
    num_changed: int = 0
    num_removed: int = 0
    num_chunks: int = 0
    failures: list[Failure] = field(default_factory=list)


class Pipeline:
    """Runs of one store. One thread at a time; `embedder_identity` is part of the recipe."""

    def __init__(
        self,
        settings: IngestSettings,
        catalog: Catalog,
        writer: IndexWriter,
        sizes: ChunkSizes,
        embedder_identity: str,
        access: AccessKeeper,
        *,
        keeps_older: bool = False,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._writer = writer
        self._sizes = sizes
        self._keeps_older = keeps_older
        self._access = access
        chunker = f"parser {PARSER_VERSION}, chunker {CHUNKER_VERSION}/{settings.chunk_tokens}"
        self._embedder_part = f", embedder {embedder_identity}"
        self._recipe = chunker + self._embedder_part
        self._failure_recipe = f"parser {PARSER_VERSION}, {limits_of(settings)}"

    @property
    def recipe(self) -> str:
        """What new documents are made by, and carry."""
        return self._recipe

    @property
    def sizes(self) -> ChunkSizes:
        return self._sizes

    def run(self, source: Path, knowledge_base: str, *, dry_run: bool, on_progress: OnProgress) -> IngestReport:
        started = time.monotonic()
        plan = self._plan(source, knowledge_base, dry_run, on_progress)
        tally = Tally(failures=[item.failure for item in plan.still_failing])
        if dry_run:
            tally.num_added, tally.num_changed = len(plan.new), len(plan.changed)
            tally.num_removed = len(plan.removed)
        else:
            self._settle_plan(plan, knowledge_base, tally)
            self._index(plan, knowledge_base, tally, on_progress)
        tally.failures += self._access.problems(knowledge_base)
        return IngestReport(
            run_id=uuid.uuid4().hex[:12],
            num_added=tally.num_added,
            num_changed=tally.num_changed,
            num_removed=tally.num_removed,
            num_unchanged=plan.num_unchanged,
            num_chunks=tally.num_chunks,
            seconds=time.monotonic() - started,
            dry_run=dry_run,
            failures=tuple(sorted(tally.failures, key=lambda failure: failure.path)),
        )

    def _plan(self, source: Path, knowledge_base: str, dry_run: bool, on_progress: OnProgress) -> Plan:
        entries = [self._accepted(entry) for entry in self._catalog.entries(knowledge_base)]
        failed = self._catalog.failures(knowledge_base)
        roots = sorted({entry.state.root for entry in entries} | {item.state.root for item in failed})
        found = find_source(source, self._settings.exclude, roots)
        on_progress(Progress("compare", 0, len(found.files), ""))
        if not dry_run:
            self._access.begin(knowledge_base, found.files)
        plan = compare(found, entries, failed, self._recipe, self._failure_recipe, hash_file)
        on_progress(Progress("compare", len(found.files), len(found.files), ""))
        return plan

    def _accepted(self, entry: Entry) -> Entry:
        """In an index generation, what an older parser or chunker made stays until the index is rebuilt."""
        is_kept = self._keeps_older and entry.recipe.endswith(self._embedder_part)
        return replace(entry, recipe=self._recipe) if is_kept else entry

    def _settle_plan(self, plan: Plan, knowledge_base: str, tally: Tally) -> None:
        for entry in plan.touched:
            self._catalog.touch(entry)
        for item in plan.forgotten:
            self._catalog.forget_failure(knowledge_base, item.state.path)
        self._writer.remove([entry.document.document_id for entry in plan.removed])
        tally.num_removed += len(plan.removed)

    def _index(self, plan: Plan, knowledge_base: str, tally: Tally, on_progress: OnProgress) -> None:
        group: list[Prepared] = []
        changed = {file.state.path for file in plan.changed}
        for num_done, outcome in enumerate(self.outcomes(plan.work)):
            path = outcome.file.state.path
            on_progress(Progress("index", num_done, len(plan.work), path))
            if isinstance(outcome.result, ParseError):
                self._fail(outcome.file, outcome.result, knowledge_base, path in changed, tally)
                continue
            tally.failures += [replace(part, path=f"{path}, {part.path}") for part in outcome.result.document.unread]
            group.append(self._prepare(outcome.file, outcome.result, knowledge_base))
            if sum(len(prepared.chunks) for prepared in group) >= GROUP_CHUNKS:
                self._write(group, changed, tally)
                group = []
        self._write(group, changed, tally)
        on_progress(Progress("index", len(plan.work), len(plan.work), ""))

    def outcomes(self, files: Sequence[SourceFile]) -> "Iterator[Outcome]":
        """In order; a few files ahead are being parsed meanwhile."""
        limits = limits_of(self._settings)
        waiting: deque[tuple[SourceFile, Future[Parsed]]] = deque()
        remaining = iter(files)
        with ParsePool(limits, self._settings.parse_workers) as pool:
            while True:
                while len(waiting) < self._settings.parse_workers + LOOK_AHEAD and (file := next(remaining, None)):
                    waiting.append((file, pool.submit(file.absolute, PurePosixPath(file.state.path).name)))
                if not waiting:
                    return
                file, future = waiting.popleft()
                yield Outcome(file, _result_of(future))

    def _prepare(self, file: SourceFile, parsed: Parsed, knowledge_base: str) -> Prepared:
        document_id = document_id_of(knowledge_base, file.state.path)
        drafts = chunk_document(parsed.document, self._sizes)
        chunks = chunks_from(drafts, document_id, parsed.content_hash, self._recipe)
        document = Document(
            document_id=document_id,
            knowledge_base=knowledge_base,
            path=file.state.path,
            title=parsed.document.title,
            media_type=parsed.document.media_type,
            content_hash=parsed.content_hash,
            num_chunks=len(chunks),
            modified_unix_seconds=file.state.modified_nanoseconds // 1_000_000_000,
            indexed_unix_seconds=int(time.time()),
        )
        access = self._access.access_of(document_id, file.state.path, parsed.document.access)
        labels = labels_of(document, parsed.document)
        return Prepared(Entry(document, file.state, self._recipe), chunks, access, labels)

    def _write(self, group: list[Prepared], changed: set[str], tally: Tally) -> None:
        self._writer.write(group, self._sizes)
        num_changed = sum(1 for prepared in group if prepared.entry.state.path in changed)
        tally.num_changed += num_changed
        tally.num_added += len(group) - num_changed
        tally.num_chunks += sum(len(prepared.chunks) for prepared in group)

    def _fail(self, file: SourceFile, error: ParseError, knowledge_base: str, was_indexed: bool, tally: Tally) -> None:
        failure = Failure(file.state.path, str(error.reason), error.message)
        old = [document_id_of(knowledge_base, file.state.path)] if was_indexed else []
        self._writer.fail(knowledge_base, FailedFile(failure, file.state, self._failure_recipe), old)
        tally.num_removed += len(old)
        tally.failures.append(failure)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A file's text, or why there is none."""

    file: SourceFile
    result: Parsed | ParseError


def _result_of(future: Future[Parsed]) -> Parsed | ParseError:
    try:
        return future.result()
    except ParseError as error:
        return error
