"""The engine's loop: `admit -> batch -> decode -> publish`. One thread; llama.cpp only through the Backend.

Every accepted request ends in exactly one terminal event, unless it was cancelled.
"""

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise

from config.errors import BadRequestError, EngineError
from config.fact_layout import PLAIN, Layout
from config.settings import EngineSettings
from server.engine.backend import EngineBackend, Pieces, Span
from server.engine.blocks import BlockReader, FactShelf
from server.engine.drafts import Drafter
from server.engine.fact_check import find_block_problem
from server.engine.factfiles import FactFolder
from server.engine.facts import Documents
from server.engine.messages import (
    AdapterRef,
    DraftStatus,
    EngineStatus,
    Event,
    FactStatus,
    FailedEvent,
    FailureKind,
    GenerateRequest,
)
from server.engine.mix_check import MAX_TOKENS as MIX_TRIAL_TOKENS
from server.engine.mixer import Mixer
from server.engine.prefixes import Match, PrefixStore
from server.engine.rows import Pace, Rows, draft_problem
from server.engine.running import Job, Running
from server.engine.scheduler import Plan, Scheduler
from server.engine.schema import SchemaCompiler
from server.engine.shelf import AdapterShelf
from server.engine.steptime import StepTable
from server.engine.storage import EngineStorage
from server.engine.threads import Threads
from server.engine.validation import clip_answer, refuse_bounds, refuse_invalid

WORTH_WAITING_TOKENS = 8
"""A prefix that another request is just computing is waited for, rather than computed twice, from this length on."""
LONG_SLICE_TOKENS = 64
"""So many tokens of a slice weigh as much as a stream where idle blocks make way: a stream has many steps before it."""

Publish = Callable[[Event], None]
log = logging.getLogger(__name__)


class EngineCore:
    """`submit` and `cancel` from the thread that calls `step`; events go to `publish` in order."""

    def __init__(
        self,
        backend: EngineBackend,
        pieces: Pieces,
        settings: EngineSettings,
        publish: Publish,
        storage: EngineStorage | None = None,
        table: StepTable | None = None,
    ) -> None:
        """table: how long steps take; None: not measured, so all streams share a batch and nothing is drafted."""
        shape = backend.shape
        self._backend = backend
        self._pieces = pieces
        self._table = table
        self._settings = settings
        self._publish = publish
        self._max_running = min(settings.max_running, shape.num_sequences, shape.max_batch_spans)
        self._max_tokens = min(settings.max_request_tokens, shape.num_cells, shape.max_positions)
        self._store = PrefixStore(
            shape.num_cells,
            shape.num_sequences,
            can_share=shape.can_share_prefixes,
            max_idle_cells=settings.idle_tokens,
        )
        rows = Rows(table, shape.max_batch_tokens, shape.max_logits, settings.max_token_gap_ms / 1000)
        self._scheduler = Scheduler(settings.turn_steps, settings.prefill_slice_tokens, rows)
        self._pace = Pace(table)
        self._threads = Threads(backend.num_threads if table else 0)
        self._schemas = SchemaCompiler(pieces)
        self._shelf = AdapterShelf()
        self._mixer = Mixer(backend, settings.mix_brands, settings.turn_steps)
        self._queue: dict[str, Job] = {}
        self._running: dict[str, Running] = {}
        problem = draft_problem(rows, settings.drafts, can_cut=shape.can_share_prefixes)
        self._counts = EngineStatus(
            is_ready=True,
            num_cells=shape.num_cells,
            drafts=DraftStatus(is_on=not problem, note=problem),
            step_seconds=table.points if table else (),
        )
        self._blocks = self._open_blocks(storage) if settings.fact_layout == "blocks" else None

    def submit(self, request: GenerateRequest) -> None:
        """Queue it, or publish its FailedEvent at once."""
        try:
            refuse_invalid(request, self._pieces.size, self._max_tokens)
            layout = self._layout_of(request)
            if len(self._queue) + len(self._running) >= self._settings.max_queued + self._max_running:
                raise _Overloaded(f"{len(self._queue)} requests are waiting already.")
            schema = None if request.json_schema is None else self._schemas.compile(request.json_schema)
        except _Overloaded as error:
            self._fail(request.request_id, FailureKind.OVERLOADED, error.message)
        except BadRequestError as error:
            is_long = error.code == "context_length_exceeded"
            self._fail(request.request_id, FailureKind.TOO_LONG if is_long else FailureKind.BAD_REQUEST, str(error))
        else:
            self._queue[request.request_id] = Job(request, clip_answer(request, self._max_tokens), schema, layout)

    def cancel(self, request_id: str) -> None:
        """Unknown and finished requests are ignored. No event follows."""
        self._queue.pop(request_id, None)
        if request_id in self._running:
            self._release(self._running[request_id], keep=True)

    def step(self) -> bool:
        """One batch. Returns False where there was nothing to do."""
        self._expire()
        self._admit()
        self._attach_blocks()
        ready = [running for running in self._running.values() if not running.is_waiting]
        plan = self._scheduler.plan([self._mixer.grouped(running.work) for running in ready], self._pace.factor)
        if plan is None:
            return False
        if self._blocks:
            num_slices = sum(part.num_tokens for part in plan.slices) // LONG_SLICE_TOKENS
            self._blocks.make_way(self._settings.idle_tokens // max(1, len(plan.decodes) + num_slices))
        runs = [self._running[name] for name in (*plan.decodes, *(part.request_id for part in plan.slices))]
        spans = self._batch(plan)
        if self._decode(runs, spans):
            self._take_tokens(runs, spans)
        return True

    def drop_prefixes(self, documents: Documents) -> None:
        self._clear(self._store.forget(documents))
        if self._blocks:
            self._blocks.forget(documents)

    def status(self) -> EngineStatus:
        facts = self._blocks.status() if self._blocks else self._counts.facts
        return replace(
            self._counts,
            num_cached_tokens=self._counts.num_cached_tokens + facts.num_saved_tokens,
            num_running=len(self._running),
            num_queued=len(self._queue),
            num_cells_used=self._store.num_cells_used,
            loaded_adapters=self._shelf.names,
            facts=facts,
            mixing=self._mixer.status(),
            num_threads=self._threads.settled,
        )

    def check_integrity(self) -> None:
        """Raises EngineError where our account of cells and sequences differs from itself or from the library's."""
        self._store.check()
        if self._blocks:
            self._blocks.check()
        lengths = self._store.positions
        for sequence in range(self._backend.shape.num_sequences):
            if self._backend.length(sequence) != lengths.get(sequence, 0):
                raise EngineError(
                    f"Sequence {sequence} ends at position {self._backend.length(sequence)}, "
                    f"{lengths.get(sequence, 0)} is accounted for."
                )

    def _open_blocks(self, storage: EngineStorage | None) -> BlockReader | None:
        """None where the self-test fails: prompts are then read in one piece. Blocks being computed need ids too."""
        backend, settings = self._backend, self._settings
        if problem := find_block_problem(backend):
            log.warning('engine.fact_layout = "blocks" does not work here: %s. Prompts are read in one piece.', problem)
            self._counts = replace(self._counts, facts=FactStatus(note=problem))
            return None
        self._max_running = min(self._max_running, backend.shape.num_sequences // 2)
        base = storage.base_sha256 if storage else ""
        origin = hashlib.sha256(f"{base}, {backend.state_format}, blocks".encode())
        max_bytes = settings.fact_disk_bytes
        folder = FactFolder(storage.facts, origin.hexdigest(), max_bytes) if storage and max_bytes else None
        return BlockReader(backend, self._store, FactShelf(settings.fact_memory_bytes, folder), origin.digest())

    def _layout_of(self, request: GenerateRequest) -> Layout:
        """In one piece also for a plain LoRA, which is on from the first token, since blocks are the base's alone; and
        where a block occurs twice, since a sequence cannot hold the same cells twice.
        """
        if self._blocks is None or not request.fact_bounds:
            return PLAIN
        refuse_bounds(request)
        is_bases = request.adapter is None or request.fact_bounds[-1] <= request.voice_boundary
        blocks = [request.tokens[begin:end] for begin, end in pairwise(request.fact_bounds)]
        return Layout(request.fact_bounds) if is_bases and len(set(blocks)) == len(blocks) else PLAIN

    def _attach_blocks(self) -> None:
        if self._blocks:
            for running in self._running.values():
                self._blocks.advance(running)

    def _expire(self) -> None:
        limit = self._settings.request_timeout_seconds
        oldest = time.monotonic() - limit
        message = f"The request was not finished within {limit:g} seconds."
        for name, job in list(self._queue.items()):
            if job.received < oldest:
                del self._queue[name]
                self._fail(name, FailureKind.TIMED_OUT, message)
        for running in list(self._running.values()):
            if running.job.received < oldest:
                self._fail_running(running, FailureKind.TIMED_OUT, message)

    def _admit(self) -> None:
        """Oldest first. One that waits for another's prefix lets others pass; one that waits for cells does not."""
        for name, job in list(self._queue.items()):
            if len(self._running) >= self._max_running:
                return
            match = self._store.match(job.key, job.tokens)
            if match.num_coming - match.num_ready >= WORTH_WAITING_TOKENS:
                continue
            if not self._store.can_admit(match, job.num_tokens):
                return
            del self._queue[name]
            if self._load_adapter(job):
                self._start(job, match)

    def _load_adapter(self, job: Job) -> bool:
        adapter = job.request.adapter
        if adapter is None:
            return True
        try:
            if not self._shelf.is_loaded(adapter.sha256):
                self._backend.load_adapter(adapter)
        except BadRequestError as error:
            self._fail(job.request.request_id, FailureKind.BAD_ADAPTER, str(error))
            return False
        for sha256 in self._shelf.acquire(adapter.sha256, adapter.name):
            self._backend.free_adapter(sha256)
            self._mixer.forget(sha256)
        self._try_mixing(adapter)
        return True

    def _try_mixing(self, adapter: AdapterRef) -> None:
        """Where too few cells are free, its next request tries again; until then it takes turns."""
        if not self._mixer.is_open or self._mixer.is_tried(adapter.sha256):
            return
        try:
            self._clear(self._store.make_room(MIX_TRIAL_TOKENS))
        except EngineError:
            return
        self._mixer.try_adapter(adapter.sha256, adapter.name)

    def _start(self, job: Job, match: Match) -> None:
        placement = self._store.admit(job.key, job.tokens, job.num_tokens, match)
        self._clear(placement.forget)
        if placement.source == placement.sequence:
            self._backend.truncate(placement.sequence, job.layout.num_positions(placement.num_shared))
        elif placement.source is not None:
            num_positions = job.layout.num_positions(placement.num_shared)
            self._backend.copy_prefix(placement.source, placement.sequence, num_positions)
        drafter = Drafter(job.request.tokens) if self._counts.drafts.is_on else None
        running = Running(job, placement.sequence, placement.num_shared, self._pieces, drafter)
        self._running[job.request.request_id] = running
        self._count(num_prompt_tokens=len(job.tokens), num_cached_tokens=placement.num_shared)

    def _batch(self, plan: Plan) -> list[Span]:
        return [
            *(self._running[name].next_span(0, plan.num_drafts(name)) for name in plan.decodes),
            *(self._running[part.request_id].next_span(part.num_tokens) for part in plan.slices),
        ]

    def _decode(self, runs: list[Running], spans: list[Span]) -> bool:
        num_rows = sum(len(span.tokens) for span in spans)
        self._clear(self._store.make_room(num_rows))
        begin, began_computing = time.perf_counter(), time.process_time()
        try:
            self._backend.decode(spans)
        except EngineError as error:
            for running in runs:
                self._fail_running(running, FailureKind.ENGINE, str(error))
            self._counts = replace(self._counts, last_error=str(error))
            return False
        self._note_times(num_rows, time.perf_counter() - begin, time.process_time() - began_computing)
        for running, span in zip(runs, spans, strict=True):
            self._store.extend(span.sequence, span.tokens)
            running.note_computed(span)
            if self._blocks:
                self._blocks.settle(running)
        self._count(num_steps=1)
        self._mixer.note_batch(len({span.adapter for span in spans}))
        return True

    def _note_times(self, num_rows: int, seconds: float, computed: float) -> None:
        """computed: by all threads together."""
        self._pace.note(num_rows, seconds)
        if self._table is not None:
            before = self._threads.count
            self._threads.note(seconds, computed, self._table.seconds(num_rows))
            if self._threads.count != before:
                self._backend.set_threads(self._threads.count)

    def _take_tokens(self, runs: list[Running], spans: list[Span]) -> None:
        for index, (running, span) in enumerate(zip(runs, spans, strict=True)):
            if span.wants_logits:
                self._take_token(running, span, index)

    def _take_token(self, running: Running, span: Span, index: int) -> None:
        num_before = running.num_answer
        try:
            for event in running.take(span, partial(self._backend.logits, index)):
                self._publish(event)
            self._cut_drafts(running, span)
        except BadRequestError as error:
            self._fail_running(running, FailureKind.BAD_REQUEST, str(error))
        except EngineError as error:
            self._fail_running(running, FailureKind.ENGINE, str(error))
        else:
            self._count(num_answer_tokens=running.num_answer - num_before)
            if running.finish is not None:
                self._release(running, keep=True)
                self._publish(running.finished(running.finish))

    def _cut_drafts(self, running: Running, span: Span) -> None:
        """What was guessed wrong leaves no trace."""
        if span.num_drafts:
            self._store.cut(span.sequence, running.num_computed)
            self._backend.truncate(span.sequence, running.job.layout.num_positions(running.num_computed))

    def _release(self, running: Running, *, keep: bool) -> None:
        del self._running[running.job.request.request_id]
        self._count_drafts(running)
        if running.job.request.adapter is not None:
            self._shelf.release(running.job.voice)
        if self._blocks:
            self._blocks.cancel(running)
        self._clear(self._store.release(running.sequence, keep=keep))

    def _fail_running(self, running: Running, kind: FailureKind, message: str) -> None:
        self._release(running, keep=False)
        self._fail(running.job.request.request_id, kind, message)

    def _fail(self, request_id: str, kind: FailureKind, message: str) -> None:
        self._publish(FailedEvent(request_id, kind, message))

    def _clear(self, sequences: tuple[int, ...] | list[int]) -> None:
        for sequence in sequences:
            self._backend.truncate(sequence, 0)

    def _count_drafts(self, running: Running) -> None:
        drafts = self._counts.drafts
        drafts = replace(
            drafts,
            num_drafted=drafts.num_drafted + running.num_drafted,
            num_accepted=drafts.num_accepted + running.num_accepted,
        )
        self._counts = replace(self._counts, drafts=drafts)

    def _count(
        self,
        *,
        num_prompt_tokens: int = 0,
        num_cached_tokens: int = 0,
        num_answer_tokens: int = 0,
        num_steps: int = 0,
    ) -> None:
        counts = self._counts
        self._counts = replace(
            counts,
            num_prompt_tokens=counts.num_prompt_tokens + num_prompt_tokens,
            num_cached_tokens=counts.num_cached_tokens + num_cached_tokens,
            num_answer_tokens=counts.num_answer_tokens + num_answer_tokens,
            num_steps=counts.num_steps + num_steps,
        )


class _Overloaded(BadRequestError):
    """The queue is full."""
