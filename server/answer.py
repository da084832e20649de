"""One answer: retrieve, prompt, generate, cite, record. Everything between the wire format and the engine."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

from config.prompt import PROMPT_VERSION, Conversation, Source, Turn, TurnFormat
from config.settings import EngineSettings
from ingest.access.reader import ANYONE, Reader
from ingest.filters import EVERYTHING, SearchFilter
from server.candidates import RetrievedSource
from server.citations import Citable, Citation, CitationMapper, CitedText
from server.condense import Condenser, join
from server.engine.messages import (
    NO_DOCUMENT,
    Engine,
    Event,
    FailedEvent,
    FinishedEvent,
    FinishReason,
    GenerateRequest,
    Sampling,
    Scope,
    TextEvent,
    TokenChoice,
)
from server.fact_reading import FactReading
from server.failures import error_of, failure_of
from server.fitting import FittedPrompt, TokenLimits, fit
from server.merge import merge
from server.records import RequestRecord
from server.retrieval import Retrieval
from server.sampling_choice import SamplingChoice, sampling_with_defaults, with_leaning
from server.scopes import scopes_of
from server.verdict import note_verdict
from server.voices import Voice


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """A question to a voice.

    turns: ends with a user turn. instructions: the client's system messages. use_documents: False for side tasks such
    as titles, which take neither documents nor the brand's voice. retrieves: False leaves out the documents alone.
    json_schema: as in `GenerateRequest`. reader: who asks, and so which documents there are. search_filter: which of
    those an answer may come from.
    """

    request_id: str
    key_id: str
    voice: Voice
    turns: tuple[Turn, ...]
    reader: Reader = ANYONE
    instructions: str = ""
    max_tokens: int | None = None
    sampling: SamplingChoice = field(default_factory=SamplingChoice)
    stop: tuple[str, ...] = ()
    num_choices: int = 1
    num_top_logprobs: int | None = None
    json_schema: str | None = None
    use_documents: bool = True
    retrieves: bool = True
    search_filter: SearchFilter = EVERYTHING
    user: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnswerStarted:
    """Always first. `is_refusal`: what follows is the brand's fixed text, not the model's."""

    sources: tuple[RetrievedSource, ...]
    is_refusal: bool = False


@dataclass(frozen=True, slots=True)
class AnswerText:
    """More of choice number `choice`. Citation positions count characters of that choice's whole text."""

    choice: int
    text: str
    citations: tuple[Citation, ...] = ()
    token_choices: tuple[TokenChoice, ...] = ()


@dataclass(frozen=True, slots=True)
class ChoiceFinished:
    choice: int
    reason: FinishReason


@dataclass(frozen=True, slots=True)
class AnswerFinished:
    """Always last of an answer that did not raise. The prompt counts once, however many choices there are."""

    num_prompt_tokens: int
    num_cached_tokens: int
    num_answer_tokens: int


AnswerEvent = AnswerStarted | AnswerText | ChoiceFinished | AnswerFinished


class Retrieves(Protocol):
    def retrieve(
        self,
        query: str,
        knowledge_bases: tuple[str, ...],
        reader: Reader = ANYONE,
        search_filter: SearchFilter = EVERYTHING,
    ) -> Retrieval:
        """Synchronous and thread-safe; no sources where nothing that the reader may see is relevant."""


class Tokenizer(Protocol):
    """The part of `Vocabulary` that answers need. Thread-safe."""

    def encode(self, text: str, is_template: bool) -> list[int]: ...


class Answerer:
    """Answers requests. `retriever` is asked for at each request, as it may still be loading.

    record: called once a request when it has ended, however it ended. Must not block.
    """

    def __init__(
        self,
        engine: Engine,
        retriever: Callable[[], Retrieves],
        tokenizer: Tokenizer,
        turn_format: TurnFormat,
        settings: EngineSettings,
        record: Callable[[RequestRecord], None],
        condenser: Condenser,
    ) -> None:
        self._engine = engine
        self._retriever = retriever
        self._tokenizer = tokenizer
        self._turn_format = turn_format
        self._settings = settings
        self._record = record
        self._condenser = condenser
        self._facts = FactReading(engine, settings)

    async def answer(self, request: AnswerRequest) -> AsyncGenerator[AnswerEvent, None]:
        """Yield events up to `AnswerFinished`. Raises HousevoiceError; closing it stops the engine within a step."""
        record = _record_of(request)
        started = time.monotonic()
        try:
            async with aclosing(self._answer(request, record)) as events:
                async for event in events:
                    _note(record, event, time.monotonic() - started)
                    yield event
        except Exception as error:
            record.outcome = failure_of(error).code
            raise
        finally:
            record.total_seconds = time.monotonic() - started
            _note_verdict(record, request)
            self._record(record)

    async def _answer(self, request: AnswerRequest, record: RequestRecord) -> AsyncGenerator[AnswerEvent, None]:
        sources: tuple[RetrievedSource, ...] = ()
        if request.use_documents and request.retrieves and request.voice.brand.knowledge_bases:
            retrieval = await self._retrieve(request, record)
            sources = self._facts.numbered(retrieval.sources, request.voice.adapter)
            if not sources:
                await asyncio.to_thread(self._fit, request, ())  # a prompt that is too long is told so first
                for event in self._refuse(request):
                    yield event
                return
        fitted = await asyncio.to_thread(self._fit, request, sources)
        sources = sources[: len(fitted.conversation.sources)]
        async with aclosing(self._generate(request, fitted, sources)) as events:
            async for event in events:
                yield event

    async def _retrieve(self, request: AnswerRequest, record: RequestRecord) -> Retrieval:
        retriever = self._retriever()
        query = await self._condenser.query(request.turns, request.request_id, request.key_id)
        record.query, record.query_method, record.query_seconds = query.text, query.method, query.seconds
        bases = request.voice.brand.knowledge_bases
        retrieval = await asyncio.to_thread(
            retriever.retrieve, query.text, bases, request.reader, request.search_filter
        )
        _note_retrieval(record, retrieval)
        return retrieval

    def _refuse(self, request: AnswerRequest) -> list[AnswerEvent]:
        text = request.voice.brand.refusal.strip()
        events: list[AnswerEvent] = [AnswerStarted((), is_refusal=True)]
        for choice in range(request.num_choices):
            events += [AnswerText(choice, text), ChoiceFinished(choice, FinishReason.STOP)]
        num_prompt = len(self._tokenizer.encode(request.turns[-1].content[:10_000], False))
        num_answer = len(self._tokenizer.encode(text, False)) * request.num_choices
        return [*events, AnswerFinished(num_prompt, 0, num_answer)]

    def _fit(self, request: AnswerRequest, sources: tuple[RetrievedSource, ...]) -> FittedPrompt:
        settings = self._settings
        num_reserved = min(request.max_tokens or settings.default_max_tokens, settings.default_max_tokens)
        limits = TokenLimits(settings.max_request_tokens, min(num_reserved, settings.max_request_tokens // 2))
        is_in_blocks = self._facts.layout_for(request.voice.adapter) == "blocks"
        conversation = conversation_of(request, sources, is_in_blocks=is_in_blocks)
        return fit(conversation, self._turn_format, self._tokenizer.encode, limits)

    async def _generate(
        self, request: AnswerRequest, fitted: FittedPrompt, sources: tuple[RetrievedSource, ...]
    ) -> AsyncGenerator[AnswerEvent, None]:
        citables = {} if request.json_schema is not None else citables_of(sources)
        mappers = [CitationMapper(citables) for _ in range(request.num_choices)]
        scopes = scopes_of(fitted.prompt, fitted.conversation, sources, request.key_id)
        documents = tuple(source.document.document_id for source in sources[: len(fitted.conversation.sources)])
        if fitted.conversation.brand_words:
            documents = (*documents, NO_DOCUMENT)
        first = self._engine_request(request, fitted, scopes, documents)
        streams = [self._engine.generate(self._choice(request, first, k)) for k in range(request.num_choices)]
        finished: list[FinishedEvent] = []
        yield AnswerStarted(sources)
        async with aclosing(merge(streams)) as events:
            async for item in events:
                for event in _mapped(item.number, item.event, mappers[item.number]):
                    yield event
                if isinstance(item.event, FinishedEvent):
                    finished.append(item.event)
        yield _usage(finished)

    def _engine_request(
        self, request: AnswerRequest, fitted: FittedPrompt, scopes: tuple[Scope, ...], documents: tuple[str, ...]
    ) -> GenerateRequest:
        return GenerateRequest(
            request_id=request.request_id,
            tokens=fitted.prompt.tokens,
            max_tokens=request.max_tokens or self._default_max_tokens(request),
            voice_boundary=request.voice.boundary_in(fitted.prompt),
            adapter=request.voice.adapter_ref if request.use_documents else None,
            scopes=scopes,
            fact_bounds=self._facts.bounds_in(fitted.prompt, request.voice.adapter),
            fact_documents=documents,
            stop=request.stop,
            num_top_logprobs=request.num_top_logprobs,
            json_schema=request.json_schema,
        )

    def _choice(self, request: AnswerRequest, engine_request: GenerateRequest, choice: int) -> GenerateRequest:
        name = f"{request.request_id}-{choice}"
        return replace(engine_request, request_id=name, sampling=self._sampling(request, choice))

    def _sampling(self, request: AnswerRequest, choice: int) -> Sampling:
        brand = request.voice.brand
        sampling = sampling_with_defaults(request.sampling, brand.sampling, choice)
        if not (request.voice.adapter and request.use_documents) or request.json_schema:
            return sampling
        return with_leaning(sampling, brand, self._tokenizer.encode)

    def _default_max_tokens(self, request: AnswerRequest) -> int:
        return request.voice.brand.sampling.max_tokens or self._settings.default_max_tokens


def query_of(turns: tuple[Turn, ...]) -> str:
    """What to look for where nothing is condensed, as in training rows: see `server.condense`."""
    return join(turns).text


def conversation_of(
    request: AnswerRequest, sources: tuple[RetrievedSource, ...], *, is_in_blocks: bool = False
) -> Conversation:
    """The prompt's content. Without documents the base takes the client's system message as its own.

    is_in_blocks: the brand's words become a block; what the client says stays in front of the question.
    """
    turns = request.turns
    if not sources and (request.voice.is_base or not request.use_documents):
        return Conversation(turns, system=request.instructions)
    words, own = request.voice.brand_prompt.strip(), request.instructions.strip()
    if is_in_blocks and sources:
        return Conversation(turns, _prompt_sources(sources), own, brand_words=words)
    parts = [words, own]
    return Conversation(turns, _prompt_sources(sources), "\n\n".join(part for part in parts if part))


def citables_of(sources: tuple[RetrievedSource, ...]) -> dict[int, Citable]:
    """By the number that the model sees."""
    return {
        source.number: Citable(
            source.document.document_id, source.chunks[0].chunk_id, source.document.title, source.location
        )
        for source in sources
    }


def output_schema_of(voice: Voice) -> str | None:
    """The brand's own output format, where the client names none."""
    if voice.brand.output == "text":
        return None
    return json.dumps(voice.brand.json_schema or {})


def _prompt_sources(sources: tuple[RetrievedSource, ...]) -> tuple[Source, ...]:
    return tuple(Source(source.number, source.document.title, source.heading, source.text) for source in sources)


def _mapped(choice: int, event: Event, mapper: CitationMapper) -> list[AnswerEvent]:
    match event:
        case TextEvent():
            return _text(choice, mapper.feed(event.text), event.choices)
        case FinishedEvent():
            return [*_text(choice, mapper.finish(), ()), ChoiceFinished(choice, event.reason)]
        case FailedEvent():
            raise error_of(event)


def _text(choice: int, cited: CitedText, token_choices: tuple[TokenChoice, ...]) -> list[AnswerEvent]:
    if not (cited.text or cited.citations or token_choices):
        return []
    return [AnswerText(choice, cited.text, cited.citations, token_choices)]


def _usage(finished: list[FinishedEvent]) -> AnswerFinished:
    return AnswerFinished(
        num_prompt_tokens=max(event.num_prompt_tokens for event in finished),
        num_cached_tokens=min(event.num_cached_tokens for event in finished),
        num_answer_tokens=sum(event.num_answer_tokens for event in finished),
    )


def _record_of(request: AnswerRequest) -> RequestRecord:
    voice = request.voice
    record = RequestRecord(request.request_id, request.key_id, voice.model, voice.brand.name)
    record.adapter = voice.adapter.name if voice.adapter and request.use_documents else ""
    record.prompt_version = PROMPT_VERSION
    record.question = request.turns[-1].content
    record.user, record.metadata = request.user, request.metadata
    record.search_filter = asdict(request.search_filter) if not request.search_filter.is_empty else {}
    return record


def _note_verdict(record: RequestRecord, request: AnswerRequest) -> None:
    if request.use_documents and not request.voice.is_base:
        is_json, has_own = request.json_schema is not None, bool(request.instructions.strip())
        note_verdict(record, request.voice.brand, is_json=is_json, has_own_instructions=has_own)


def _note_retrieval(record: RequestRecord, retrieval: Retrieval) -> None:
    record.retrieval_seconds = retrieval.seconds
    record.best_similarity = retrieval.best_similarity
    record.generation = retrieval.generation
    record.reranking = retrieval.reranking
    record.chunk_ids = [chunk.chunk_id for source in retrieval.sources for chunk in source.chunks]


def _note(record: RequestRecord, event: AnswerEvent, seconds: float) -> None:
    match event:
        case AnswerStarted():
            record.outcome = "refused" if event.is_refusal else "cancelled"
        case AnswerText():
            if record.first_token_seconds is None:
                record.first_token_seconds = seconds
            record.num_citations += len(event.citations)
            record.answer += event.text if event.choice == 0 else ""
        case ChoiceFinished():
            record.outcome = record.outcome if record.outcome == "refused" else event.reason.value
        case AnswerFinished():
            record.num_prompt_tokens = event.num_prompt_tokens
            record.num_cached_tokens = event.num_cached_tokens
            record.num_answer_tokens = event.num_answer_tokens
