"""One ingest run: scan, compare, parse in workers, chunk, and hand groups of documents to the writer.

Workers parse the next files, and a thread chunks them, while this thread embeds and writes the ones before. Files are
taken in the order of their paths, and written in that order.
"""

import hashlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from config.settings import IngestSettings
from ingest.access.keeper import AccessKeeper
from ingest.catalog import Catalog, Entry, FailedFile, FileState
from ingest.chunk import CHUNKER_VERSION, ChunkDraft, ChunkSizes, chunk_document
from ingest.documents import Chunk, Document, Failure, IngestReport, Progress
from ingest.labels import labels_of, moved_labels
from ingest.origins import OnProgress, Origin
from ingest.parse.dispatch import PARSER_VERSION
from ingest.parse.limits import limits_of
from ingest.parse.pool import ParsePool
from ingest.parse.reasons import ParseError
from ingest.parse.wire import Parsed
from ingest.quarantine import Quarantine, holder_among
from ingest.read_ahead import read_ahead
from ingest.scan import Plan, Renamed, Source, SourceFile, compare, hash_file
from ingest.writer import IndexWriter, Moved, Prepared

GROUP_CHUNKS = 256
"""Chunks embedded and written together: several batches of like length, and one commit."""

GROUP_DOCUMENTS = 100
"""Renamed documents moved together."""

LOOK_AHEAD = 4
"""Files in parsing beyond those that the workers hold, so that none waits for the chunker."""

CHUNKS_AHEAD = 2 * GROUP_CHUNKS
"""Chunks that may wait for the embedder, which is the slowest."""


def document_id_of(knowledge_base: str, path: str) -> str:
    """By place, not by content, so that links survive edits."""
    return hashlib.sha256(f"{knowledge_base}\0{path}".encode()).hexdigest()[:16]


def chunk_id_of(document_id: str, content_hash: str, recipe: str, ordinal: int) -> str:
    """By content and recipe, so that a chunk with the same id always has the same text."""
    return hashlib.sha256(f"{document_id}\0{content_hash}\0{recipe}\0{ordinal}".encode()).hexdigest()[:20]


def chunks_from(
    drafts: Sequence[ChunkDraft], key: str, document_id: str, content_hash: str, recipe: str
) -> tuple[Chunk, ...]:
    """Drafts with their identity. `key`: see `Pipeline.free_key`."""
    return tuple(
        Chunk(
            chunk_id=chunk_id_of(key, content_hash, recipe, ordinal),
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
    num_renamed: int = 0
    num_chunks: int = 0
    failures: list[Failure] = field(default_factory=list)
    outdated: set[str] = field(default_factory=set)


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
        quarantine: Quarantine,
        *,
        keeps_older: bool = False,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._writer = writer
        self._sizes = sizes
        self._keeps_older = keeps_older
        self._access = access
        self._quarantine = quarantine
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

    def run(
        self, origin: Origin, knowledge_base: str, run_id: str, *, dry_run: bool, on_progress: OnProgress
    ) -> IngestReport:
        started = time.monotonic()
        source = self._find(origin, knowledge_base, on_progress)
        kept_out = self._kept_out(source, knowledge_base)
        source = replace(source, files=tuple(file for file in source.files if file.state.path not in kept_out))
        plan = self._plan(source, knowledge_base, dry_run, on_progress)
        still_failing = [item.failure for item in plan.still_failing]
        tally = Tally(failures=[*source.failures, *kept_out.values(), *still_failing])
        if dry_run:
            tally.num_added, tally.num_changed = len(plan.new), len(plan.changed)
            tally.num_removed, tally.num_renamed = len(plan.removed), len(plan.renamed)
        else:
            self._settle_plan(plan, source, knowledge_base, tally)
            self._move(plan, tally)
            self._index(plan, knowledge_base, tally, on_progress)
        tally.failures += self._access.problems(knowledge_base)
        return IngestReport(
            run_id=run_id,
            num_added=tally.num_added,
            num_changed=tally.num_changed,
            num_removed=tally.num_removed,
            num_unchanged=plan.num_unchanged,
            num_chunks=tally.num_chunks,
            seconds=time.monotonic() - started,
            dry_run=dry_run,
            failures=tuple(sorted(tally.failures, key=lambda failure: failure.path)),
            num_renamed=tally.num_renamed,
            outdated=tuple(sorted(tally.outdated)),
        )

    def _find(self, origin: Origin, knowledge_base: str, on_progress: OnProgress) -> Source:
        return origin.find(self._catalog.roots(knowledge_base), on_progress)

    def _kept_out(self, source: Source, knowledge_base: str) -> dict[str, Failure]:
        """Files of the source that an operator took out, by path."""
        held = {item.path: item for item in self._quarantine.held(knowledge_base)}
        paths = [file.state.path for file in source.files if file.state.path in held]
        return {path: held[path].failure() for path in paths}

    def _plan(self, source: Source, knowledge_base: str, dry_run: bool, on_progress: OnProgress) -> Plan:
        entries = [self._accepted(entry) for entry in self._catalog.entries(knowledge_base)]
        failed = self._catalog.failures(knowledge_base)
        on_progress(Progress("compare", 0, len(source.files), ""))
        if not dry_run:
            self._access.begin(knowledge_base, source.files)
        plan = compare(source, entries, failed, self._recipe, self._failure_recipe, hash_file)
        on_progress(Progress("compare", len(source.files), len(source.files), ""))
        return plan

    def _accepted(self, entry: Entry) -> Entry:
        """In an index generation, what an older parser or chunker made stays until the index is rebuilt."""
        is_kept = self._keeps_older and entry.recipe.endswith(self._embedder_part)
        return replace(entry, recipe=self._recipe) if is_kept else entry

    def _settle_plan(self, plan: Plan, source: Source, knowledge_base: str, tally: Tally) -> None:
        for entry in plan.touched:
            self._catalog.touch(entry)
        for item in plan.forgotten:
            self._catalog.forget_failure(knowledge_base, item.state.path)
        for failure in source.failures:
            self._catalog.put_failure(
                knowledge_base, FailedFile(failure, FileState(source.root, failure.path, 0, 0), "")
            )
        removed = [entry.document.document_id for entry in plan.removed]
        self._writer.remove(removed)
        tally.outdated.update(removed)
        tally.num_removed += len(removed)

    def _move(self, plan: Plan, tally: Tally) -> None:
        """Renamed documents whose name does not matter take their chunks along; the others are parsed below."""
        for renamed in plan.renamed:
            if not renamed.keeps_text:
                old = renamed.entry.document
                path = renamed.file.state.path
                self._writer.redirect(old.document_id, old.path, document_id_of(old.knowledge_base, path), path)
        moved = [self._moved(renamed) for renamed in plan.renamed if renamed.keeps_text]
        for start in range(0, len(moved), GROUP_DOCUMENTS):
            self._writer.move(moved[start : start + GROUP_DOCUMENTS])
        tally.outdated.update(renamed.entry.document.document_id for renamed in plan.renamed)
        tally.num_renamed += len(plan.renamed)

    def _moved(self, renamed: Renamed) -> Moved:
        old, state = renamed.entry.document, renamed.file.state
        document = replace(
            old,
            document_id=document_id_of(old.knowledge_base, state.path),
            path=state.path,
            modified_unix_seconds=state.modified_nanoseconds // 1_000_000_000,
        )
        access = self._access.moved(old.document_id, old.path, document.document_id, document.path)
        labels = moved_labels(document, old.path, self._writer.labels_of(old.document_id))
        recipe = self._catalog.entries_by_id([old.document_id])[old.document_id].recipe
        return Moved(old.document_id, Entry(document, state, recipe), access, labels)

    def _index(self, plan: Plan, knowledge_base: str, tally: Tally, on_progress: OnProgress) -> None:
        group: list[Prepared] = []
        changed = {file.state.path for file in plan.changed}
        renamed = {item.file.state.path for item in plan.renamed}
        for num_done, outcome in enumerate(self.outcomes(plan.work)):
            path = outcome.file.state.path
            on_progress(Progress("index", num_done, len(plan.work), path))
            if isinstance(outcome.result, ParseError):
                self._fail(outcome.file, outcome.result, knowledge_base, path in changed, tally)
                continue
            holder = self._quarantine.holder(knowledge_base, path, outcome.result.content_hash)
            if holder is not None:
                self._refuse(outcome.file, holder.failure(path), knowledge_base, path in changed, tally)
                continue
            tally.failures += [replace(part, path=f"{path}, {part.path}") for part in outcome.result.document.unread]
            group.append(self._prepare(outcome.file, outcome.result, outcome.drafts, knowledge_base))
            if sum(len(prepared.chunks) for prepared in group) >= GROUP_CHUNKS:
                self._write(group, changed, renamed, tally)
                group = []
        self._write(group, changed, renamed, tally)
        on_progress(Progress("index", len(plan.work), len(plan.work), ""))

    def outcomes(self, files: Sequence[SourceFile]) -> "Iterator[Outcome]":
        """In order; files ahead are being parsed and chunked meanwhile."""
        return read_ahead(self._outcomes(files), lambda outcome: len(outcome.drafts) + 1, CHUNKS_AHEAD)

    def _outcomes(self, files: Sequence[SourceFile]) -> "Iterator[Outcome]":
        limits = limits_of(self._settings)
        waiting: deque[tuple[SourceFile, Future[Parsed]]] = deque()
        remaining = iter(files)
        with ParsePool(limits, self._settings.parse_workers) as pool:
            while True:
                while len(waiting) < self._settings.parse_workers + LOOK_AHEAD and (file := next(remaining, None)):
                    waiting.append((file, pool.submit(file.absolute, file.hint)))
                if not waiting:
                    return
                file, future = waiting.popleft()
                result = _result_of(future)
                drafts = chunk_document(result.document, self._sizes) if isinstance(result, Parsed) else ()
                yield Outcome(file, result, tuple(drafts))

    def _prepare(self, file: SourceFile, parsed: Parsed, drafts: Sequence[ChunkDraft], knowledge_base: str) -> Prepared:
        document_id = document_id_of(knowledge_base, file.state.path)
        key = self.free_key(document_id, parsed.content_hash)
        chunks = chunks_from(drafts, key, document_id, parsed.content_hash, self._recipe)
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

    def free_key(self, document_id: str, content_hash: str) -> str:
        """What its chunks' ids are made of: the document's id, unless one that was renamed took these ids along."""
        key = document_id
        while True:
            first = chunk_id_of(key, content_hash, self._recipe, 0)
            holder = self._catalog.chunks([first]).get(first)
            if holder is None or holder.document_id == document_id:
                return key
            key += "+"

    def _write(self, group: list[Prepared], changed: set[str], renamed: set[str], tally: Tally) -> None:
        self._writer.write(group, self._sizes)
        tally.outdated.update(self._withdraw([prepared.entry.document for prepared in group]))
        paths = {prepared.entry.state.path: prepared.entry.document.document_id for prepared in group}
        tally.outdated.update(document_id for path, document_id in paths.items() if path in changed)
        tally.num_changed += len(paths.keys() & changed)
        tally.num_added += len(paths.keys() - changed - renamed)
        tally.num_chunks += sum(len(prepared.chunks) for prepared in group)

    def _withdraw(self, documents: Sequence[Document]) -> list[str]:
        """What an operator took out while it was being read. Returns the ids."""
        held = self._quarantine.held(documents[0].knowledge_base) if documents else []
        late = [item.document_id for item in documents if holder_among(held, item.path, item.content_hash)]
        if late:
            self._writer.remove(late)
        return late

    def _fail(self, file: SourceFile, error: ParseError, knowledge_base: str, was_indexed: bool, tally: Tally) -> None:
        failure = Failure(file.state.path, str(error.reason), error.message)
        self._refuse(file, failure, knowledge_base, was_indexed, tally)

    def _refuse(self, file: SourceFile, failure: Failure, knowledge_base: str, was_indexed: bool, tally: Tally) -> None:
        old = [document_id_of(knowledge_base, file.state.path)] if was_indexed else []
        self._writer.fail(knowledge_base, FailedFile(failure, file.state, self._failure_recipe), old)
        tally.outdated.update(old)
        tally.num_removed += len(old)
        tally.failures.append(failure)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A file's text in chunks, or why there is none."""

    file: SourceFile
    result: Parsed | ParseError
    drafts: tuple[ChunkDraft, ...]


def _result_of(future: Future[Parsed]) -> Parsed | ParseError:
    try:
        return future.result()
    except ParseError as error:
        return error
