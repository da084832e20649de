"""POST /v1/chat/completions: a grounded answer in a brand's voice, whole or streamed."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from adapters.rollout import Caller
from config.errors import BadRequestError
from config.prompt import Turn
from config.settings import ServerSettings
from server.answer import AnswerEvent, AnswerRequest, output_schema_of
from server.api.chat_format import ChatFormat
from server.api.context import KeyOf, RequestIdOf, ServicesOf
from server.api.schemas.chat import ChatBody
from server.api.stream import StreamedResponse, event_stream, primed, run_until_gone
from server.keys import ApiKey
from server.services import Services
from server.voices import Voice

TASK_HEADER = "x-openwebui-task"
CHAT_HEADER = "x-openwebui-chat-id"
CONVERSATION_KEY = "conversation_id"
"""In a request's metadata."""

VERSION_HEADER = "x-housevoice-version"
OPEN_WEBUI_PREFIX = "x-openwebui-"
NUM_PRIMED_EVENTS = 2
"""The start and the first text: an engine that refuses does so before it."""

router = APIRouter()


@router.post("/v1/chat/completions", response_model=None)
async def create_chat_completion(
    body: ChatBody, request: Request, services: ServicesOf, key: KeyOf, request_id: RequestIdOf
) -> Response:
    check_limits(body, services)
    services.require_ready()
    caller = caller_of(key, body.user or body.safety_identifier, conversation_of(body, request.headers))
    voice = await asyncio.to_thread(services.voices.resolve, body.model, key, caller)
    check_bias(body.logit_bias, services)
    answer_request = answer_request_of(body, voice, key, request_id, is_task=bool(request.headers.get(TASK_HEADER)))
    events = services.answerer.answer(answer_request)
    chat = chat_format_of(body, voice, services, request)
    if not body.stream:
        whole = await run_until_gone(chat.whole(events), request.receive)
        return Response(status_code=499) if whole is None else JSONResponse(whole, headers=version_header(voice))
    response = await _streamed(chat, events, services.settings.server, request_id, request)
    response.headers.update(version_header(voice))
    return response


async def _streamed(
    chat: ChatFormat,
    events: AsyncGenerator[AnswerEvent, None],
    settings: ServerSettings,
    request_id: str,
    request: Request,
) -> Response:
    """Waits for the first text (or one keep-alive interval), so that an early failure is an HTTP status."""
    begun = await run_until_gone(primed(events, NUM_PRIMED_EVENTS, settings.keep_alive_seconds), request.receive)
    if begun is None:
        return Response(status_code=499)
    return StreamedResponse(
        event_stream(chat.chunks(begun), settings.keep_alive_seconds, request_id), "text/event-stream"
    )


def answer_request_of(body: ChatBody, voice: Voice, key: ApiKey, request_id: str, *, is_task: bool) -> AnswerRequest:
    """is_task: a client's side task (a title, tags): answered plainly, without documents and voice."""
    schema_text = body.schema_text if body.response_format else None if is_task else output_schema_of(voice)
    return AnswerRequest(
        request_id=request_id,
        key_id=key.id,
        voice=voice,
        turns=from_first_question(body.turns),
        reader=key.reader,
        instructions=body.instructions,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        sampling=body.sampling,
        stop=body.stops,
        num_choices=body.n or 1,
        num_top_logprobs=body.num_top_logprobs,
        json_schema=schema_text,
        use_documents=not is_task,
        retrieves=body.wanted_retrieval.enabled,
        search_filter=body.wanted_retrieval.search_filter,
        user=body.user or body.safety_identifier or "",
        metadata=body.metadata or {},
    )


def chat_format_of(body: ChatBody, voice: Voice, services: Services, request: Request) -> ChatFormat:
    is_open_webui = any(name.startswith(OPEN_WEBUI_PREFIX) for name in request.headers)
    return ChatFormat(
        request_id=request.state.request_id,
        model=body.model,
        created=services.clock(),
        system_fingerprint=fingerprint(services, voice),
        adapter=voice.adapter.name if voice.adapter else None,
        base_url=str(request.base_url).rstrip("/"),
        num_choices=body.n or 1,
        is_json=body.schema_text is not None,
        has_logprobs=bool(body.logprobs),
        includes_usage=body.includes_usage,
        sends_source_events=is_open_webui,
        includes_source_text=body.wanted_retrieval.include_text,
    )


def caller_of(key: ApiKey, user: str | None, conversation: str) -> Caller:
    return Caller(key.id, key.name, user or "", conversation)


def conversation_of(body: ChatBody, headers: Mapping[str, str]) -> str:
    """What all turns of one conversation have in common: the client's id of it, or else the first question."""
    named = headers.get(CHAT_HEADER) or (body.metadata or {}).get(CONVERSATION_KEY)
    return named or next(turn.content for turn in body.turns if turn.role == "user")


def version_header(voice: Voice) -> dict[str, str]:
    """Which version answers, before the first token; brand@0 is the brand without an adapter."""
    return {} if voice.is_base else {VERSION_HEADER: voice.adapter.name if voice.adapter else f"{voice.brand.name}@0"}


def from_first_question(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """Some clients open with a greeting of the assistant; a conversation starts with its first question."""
    first = next(index for index, turn in enumerate(turns) if turn.role == "user")
    return turns[first:]


def check_limits(body: ChatBody, services: Services) -> None:
    settings = services.settings.server
    if len(body.messages) > settings.max_messages:
        raise BadRequestError(f"{len(body.messages)} messages are more than {settings.max_messages}.", "messages")
    check_num_choices(body.n, settings)


def check_num_choices(num_choices: int | None, settings: ServerSettings) -> None:
    if num_choices is not None and num_choices > settings.max_choices:
        raise BadRequestError(f"n = {num_choices} is more than {settings.max_choices}.", "n")


def check_bias(logit_bias: dict[int, float] | None, services: Services) -> None:
    size = services.vocabulary.size
    for token in logit_bias or {}:
        if not 0 <= token < size:
            raise BadRequestError(f"Token {token} is not in this model's vocabulary of {size}.", "logit_bias")


def fingerprint(services: Services, voice: Voice) -> str:
    """Equal fingerprints, seeds and parameters give equal answers: base, adapter and prompt format."""
    adapter = voice.adapter.sha256[:8] if voice.adapter else "base"
    return f"fp_{services.base.sha256[:8]}_{adapter}"
