"""What goes in and out of the engine: requests, events, and the `Engine` seam that the API depends on.

Plain frozen dataclasses without wire types: they cross the process boundary pickled.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """One immutable adapter version. `sha256` is the file's; it is part of every cache key."""

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. temperature 0 is greedy and ignores the rest but penalties and biases.

    leaning: an answer, in tokens, towards which `leaning_bias` logits are added for as long as what was chosen is a
    beginning of it. leaning_settled: with so many of its tokens said, the rest follows word for word.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    dry_multiplier: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    leaning: tuple[int, ...] = ()
    leaning_bias: float = 0.0
    leaning_settled: int | None = None


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """From token `start` on, up to the next scope's start, the prompt holds what only `name` may know; "" is public."""

    start: int
    name: str


NO_DOCUMENT = "-"
"""In place of a document's id: text that stands in none, such as a brand's words."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One sequence to generate.

    tokens: the whole prompt. voice_boundary: index into `tokens` from which `adapter` is on (ignored without adapter).
    scopes: whose private content the prompt holds from where on, by start; a cached prefix is shared only as far as the
    scopes are equal. Before the first one, and without any, the prompt is public.
    fact_bounds: the indexes at which the sources begin, then the one at which the last of them ends; see
    `config.fact_layout`. Only looked at where engine.fact_layout is "blocks". fact_documents: ids of the documents
    that the sources are of, one each, so that what is computed of them is dropped with them; empty where unknown,
    `NO_DOCUMENT` for text that stands in none.
    stop: strings that end the answer and are not part of it. num_top_logprobs: None for no log-probabilities at all.
    json_schema: JSON text that the output must satisfy, "{}" for any JSON object, None for free text.
    """

    request_id: str
    tokens: tuple[int, ...]
    max_tokens: int
    voice_boundary: int = 0
    adapter: AdapterRef | None = None
    scopes: tuple[Scope, ...] = ()
    fact_bounds: tuple[int, ...] = ()
    fact_documents: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    num_top_logprobs: int | None = None
    json_schema: str | None = None

    def document_at(self, index: int) -> str:
        """The document of the source that begins at this index."""
        return self.fact_documents[self.fact_bounds.index(index)] if self.fact_documents else ""


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """`piece` is the token's bytes, which need not be whole characters."""

    token: int
    piece: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """The chosen token with its alternatives, best first."""

    chosen: TokenLogprob
    alternatives: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class TextEvent:
    """Some more text: whole characters only, never part of a stop string. `choices` only where logprobs were asked."""

    request_id: str
    text: str
    num_tokens: int
    choices: tuple[TokenChoice, ...] = ()


@dataclass(frozen=True, slots=True)
class FinishedEvent:
    """Terminal. Times are seconds since the engine received the request."""

    request_id: str
    reason: FinishReason
    num_prompt_tokens: int
    num_cached_tokens: int
    num_answer_tokens: int
    queued_seconds: float
    first_token_seconds: float
    total_seconds: float


class FailureKind(StrEnum):
    OVERLOADED = "overloaded"
    TOO_LONG = "too_long"
    BAD_REQUEST = "bad_request"
    BAD_ADAPTER = "bad_adapter"
    TIMED_OUT = "timed_out"
    ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class FailedEvent:
    """Terminal. `message` is meant for a person."""

    request_id: str
    kind: FailureKind
    message: str


Event = TextEvent | FinishedEvent | FailedEvent


@dataclass(frozen=True, slots=True)
class FactStatus:
    """The fact cache. layout: as served. note: why that is not what the settings ask for.

    Hits and misses count blocks; num_saved_tokens are those of all hits, num_restored_tokens those that came from
    memory or disk. num_damaged: saved blocks that could not be used and were dropped.
    """

    layout: str = "exact"
    note: str = ""
    num_context_hits: int = 0
    num_memory_hits: int = 0
    num_disk_hits: int = 0
    num_misses: int = 0
    num_saved_tokens: int = 0
    num_restored_tokens: int = 0
    num_memory_blocks: int = 0
    num_memory_bytes: int = 0
    num_disk_blocks: int = 0
    num_disk_bytes: int = 0
    num_damaged: int = 0


@dataclass(frozen=True, slots=True)
class DraftStatus:
    """Guessed tokens. note: why nothing is drafted, empty where it is. Counted when a request ends."""

    is_on: bool = False
    note: str = ""
    num_drafted: int = 0
    num_accepted: int = 0


@dataclass(frozen=True, slots=True)
class MixStatus:
    """Do brands share batches? note: why they take turns instead; empty where they do not.

    apart_seconds, together_seconds: processor time of a step of two voices, four rows each, in turns and in one batch,
    when it was tried; 0 before. num_batches: batches of several voices so far.
    """

    is_on: bool = False
    note: str = ""
    apart_seconds: float = 0.0
    together_seconds: float = 0.0
    num_batches: int = 0


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """A snapshot for /readyz, /metrics and doctor. Counters only grow within one engine process (`pid`).

    step_seconds: (rows, seconds) as measured; empty where nothing was. weights: what is served of the model's file.
    num_threads: that compute just now, which are fewer beside other processes; 0 where that is not chosen.
    """

    is_ready: bool
    pid: int = 0
    num_running: int = 0
    num_queued: int = 0
    num_cells: int = 0
    num_cells_used: int = 0
    num_restarts: int = 0
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0
    num_answer_tokens: int = 0
    num_steps: int = 0
    loaded_adapters: tuple[str, ...] = field(default=())
    last_error: str = ""
    facts: FactStatus = FactStatus()
    drafts: DraftStatus = DraftStatus()
    step_seconds: tuple[tuple[int, float], ...] = ()
    mixing: MixStatus = MixStatus()
    weights: str = ""
    num_threads: int = 0


class Engine(Protocol):
    """What the API needs from the engine. Implementations: `client.EngineClient` and `fake.FakeEngine`."""

    async def start(self) -> None:
        """Return when requests are accepted. Raises ModelError or EngineError where the model cannot be loaded."""

    async def stop(self) -> None:
        """End the process; requests in flight end in a FailedEvent."""

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        """Submit and yield events; the last one is terminal. Closing the generator cancels within one step."""

    def status(self) -> EngineStatus:
        """The newest known state, without waiting."""

    async def check_adapter(self, adapter: AdapterRef) -> None:
        """Load it in a throw-away process and generate a few tokens. Raises BadRequestError with the reason."""

    async def drop_prefixes(self, documents: frozenset[str] | None = None) -> None:
        """Forget cached prompts, and what was computed of these documents (None: of all), since they are not what
        they were.
        """
