"""One running request: its tokens, its sampler, its text, and the events that come out of each new token."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from config.errors import EngineError
from config.fact_layout import NO_BOUNDARY, PLAIN, Layout
from server.engine.backend import Logits, Pieces, Span
from server.engine.drafts import MAX_DRAFTS, Drafter
from server.engine.facts import BlockId
from server.engine.messages import FinishedEvent, FinishReason, GenerateRequest, TextEvent, TokenChoice
from server.engine.prefixes import BASE_VOICE, PrefixKey, Tokens
from server.engine.rows import NO_OFFER, Offer
from server.engine.sampling import Sampler, describe_choice
from server.engine.scheduler import Work
from server.engine.schema import SchemaMask
from server.engine.text import TextStream


@dataclass(slots=True)
class Job:
    """An accepted request with what is worked out once. Times are from time.monotonic().

    layout: PLAIN wherever the prompt is read in one piece, whatever the request says about its facts.
    """

    request: GenerateRequest
    max_tokens: int
    schema: SchemaMask | None
    layout: Layout = PLAIN
    received: float = field(default_factory=time.monotonic)

    tokens: Tokens = field(init=False)
    key: PrefixKey = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = np.array(self.request.tokens, np.int32)
        self.key = PrefixKey(self.request.scopes, self.voice, self.boundary, self.layout)

    @property
    def voice(self) -> str:
        return self.request.adapter.sha256 if self.request.adapter else BASE_VOICE

    @property
    def boundary(self) -> int:
        return self.request.voice_boundary if self.request.adapter else NO_BOUNDARY

    @property
    def num_tokens(self) -> int:
        """Cells that it needs in the end."""
        return len(self.request.tokens) + self.max_tokens


@dataclass(slots=True)
class BlockWork:
    """A fact block that a request computes in a sequence of its own; `num_computed` tokens behind its prefix are."""

    sequence: int
    block: BlockId
    tokens: tuple[int, ...]
    num_prefix: int
    num_computed: int = 0

    @property
    def num_left(self) -> int:
        return len(self.tokens) - self.num_computed


@dataclass(slots=True)
class Running:
    """A job with a sequence. `num_computed` tokens are in it; `pending` is sampled and not yet in it.

    block: what is computed first, to be attached to the sequence. is_waiting: for a block that another one computes.
    drafter: None where nothing is drafted. num_drafted, num_accepted: guessed tokens that were computed, and those of
    them that became part of the answer.
    """

    job: Job
    sequence: int
    num_cached: int
    pieces: Pieces
    drafter: Drafter | None = None
    started: float = field(default_factory=time.monotonic)
    first_token: float = 0.0
    num_computed: int = 0
    num_answer: int = 0
    num_drafted: int = 0
    num_accepted: int = 0
    pending: int | None = None
    finish: FinishReason | None = None
    block: BlockWork | None = None
    is_waiting: bool = False
    sampler: Sampler = field(init=False)
    text: TextStream = field(init=False)
    _num_unshown: int = 0
    _num_guessed: int = 0
    _choices: list[TokenChoice] = field(default_factory=list)

    def __post_init__(self) -> None:
        request = self.job.request
        self.num_computed = self.num_cached
        self.sampler = Sampler(request.sampling, request.tokens)
        self.text = TextStream(request.stop)

    @property
    def work(self) -> Work:
        job = self.job
        if self.pending is not None:
            return Work(job.request.request_id, job.voice, 0, self._offer)
        if self.block is not None:
            return Work(job.request.request_id, BASE_VOICE, self.block.num_left)
        is_base = self.num_computed < job.boundary
        end = min(job.boundary, len(job.tokens)) if is_base else len(job.tokens)
        end = min(end, job.layout.start) if self.num_computed < job.layout.start else end
        return Work(job.request.request_id, BASE_VOICE if is_base else job.voice, end - self.num_computed)

    @property
    def adapter(self) -> str | None:
        """Which one computes the next span."""
        return self.work.voice or None

    @property
    def is_at_block(self) -> bool:
        """Its prefix is there, and the next of its fact blocks is neither there nor being computed for it."""
        return self.block is None and self.job.layout.start <= self.num_computed < self.job.layout.end

    def next_span(self, num_prefill: int, num_drafts: int = 0) -> Span:
        """What the next batch computes: a slice of a block or of the prompt, or (0) the pending token with drafts."""
        if self.block is not None:
            block, done = self.block, self.block.num_computed
            return Span(block.sequence, block.num_prefix + done, block.tokens[done : done + num_prefill], False)
        start = self.job.layout.num_positions(self.num_computed)
        if self.pending is not None:
            drafts = self._guess[:num_drafts]
            self._num_guessed = len(drafts)
            self.num_drafted += len(drafts)
            filling = (self.pending,) * (num_drafts - len(drafts))
            tokens = (self.pending, *drafts, *filling)
            return Span(self.sequence, start, tokens, True, self.job.voice or None, num_drafts)
        end = self.num_computed + num_prefill
        tokens = self.job.request.tokens[self.num_computed : end]
        return Span(self.sequence, start, tokens, wants_logits=end >= len(self.job.tokens), adapter=self.adapter)

    def note_computed(self, span: Span) -> None:
        """The span was computed. Its drafts count from when they turn out right."""
        num_tokens = len(span.tokens) - span.num_drafts
        if self.block is not None:
            self.block.num_computed += num_tokens
        else:
            self.num_computed += num_tokens
            self.pending = None

    def take(self, span: Span, logits: Callable[[int], Logits]) -> Iterator[TextEvent]:
        """Sample one token, and another one for each draft that it turns out to be; sets `finish` where the answer
        ends. logits: of a row of the span. Raises EngineError on unusable logits."""
        drafts = span.tokens[len(span.tokens) - span.num_drafts :]
        for row in range(span.num_logits):
            event = self._take_one(logits(row))
            if event is not None:
                yield event
            if self.finish is not None or row == span.num_drafts or self.pending != drafts[row]:
                return
            self.num_computed += 1
            self.num_accepted += row < self._num_guessed
            self.pending = None

    @property
    def _guess(self) -> tuple[int, ...]:
        return self.sampler.foreseen or (self.drafter.guess.tokens if self.drafter else ())

    @property
    def _offer(self) -> Offer:
        room = min(self.job.max_tokens - self.num_answer - 1, MAX_DRAFTS)
        if self.drafter is None or room <= 0:
            return NO_OFFER
        foreseen = self.sampler.foreseen[:room]
        return Offer((1.0,) * len(foreseen) or self.drafter.gains(room), room)

    def _take_one(self, logits: Logits) -> TextEvent | None:
        schema, request = self.job.schema, self.job.request
        token = self.sampler.choose(logits, schema.allowed() if schema else None)
        if not math.isfinite(logits[token]):
            raise EngineError("The model computed no usable numbers; its adapter or its file may be damaged.")
        self.first_token = self.first_token or time.monotonic()
        if token in self.pieces.end_tokens:
            self.finish = FinishReason.STOP
            return self._show(self.text.finish())
        self.pending = token
        self.num_answer += 1
        if self.drafter is not None:
            self.drafter.push(token)
        self._num_unshown += 1
        if request.num_top_logprobs is not None:
            self._choices.append(describe_choice(logits, token, request.num_top_logprobs, self.pieces.piece))
        return self._push(token)

    def _push(self, token: int) -> TextEvent | None:
        schema = self.job.schema
        text = self.text.push(self.pieces.piece(token))
        if schema is not None:
            schema.accept(token)
        if self.text.is_stopped:
            self.finish = FinishReason.STOP
            self._drop_choices_behind(text)
            return self._show(text)
        if schema is not None and schema.is_complete:
            self.finish = FinishReason.STOP
        elif self.num_answer >= self.job.max_tokens:
            self.finish = FinishReason.LENGTH
        return self._show(text + self.text.finish() if self.finish else text)

    def _show(self, text: str) -> TextEvent | None:
        if not text:
            return None
        event = TextEvent(self.job.request.request_id, text, self._num_unshown, tuple(self._choices))
        self._num_unshown, self._choices = 0, []
        return event

    def _drop_choices_behind(self, text: str) -> None:
        """Log-probabilities of tokens that only a stop string held are not part of the answer."""
        kept, num_bytes = 0, len(text.encode())
        while kept < len(self._choices) and num_bytes > 0:
            num_bytes -= len(self._choices[kept].chosen.piece)
            kept += 1
        del self._choices[kept:]

    def finished(self, reason: FinishReason) -> FinishedEvent:
        received = self.job.received
        return FinishedEvent(
            request_id=self.job.request.request_id,
            reason=reason,
            num_prompt_tokens=len(self.job.tokens),
            num_cached_tokens=self.num_cached,
            num_answer_tokens=self.num_answer,
            queued_seconds=self.started - received,
            first_token_seconds=self.first_token - received,
            total_seconds=time.monotonic() - received,
        )
