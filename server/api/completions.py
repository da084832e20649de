"""POST /v1/completions: the model continues raw text. No documents, no chat format, no citations."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from config.errors import BadRequestError
from server.api.chat import caller_of, check_bias, check_num_choices, fingerprint, version_header
from server.api.context import KeyOf, RequestIdOf, ServicesOf
from server.api.logprobs import completion_logprobs
from server.api.schemas.completions import CompletionBody
from server.api.stream import StreamedResponse, event_stream, primed, run_until_gone
from server.engine.messages import FailedEvent, FinishedEvent, GenerateRequest, Scope, TextEvent, TokenChoice
from server.failures import error_of
from server.fitting import too_long
from server.keys import ApiKey
from server.merge import NumberedEvent, merge
from server.sampling_choice import sampling_with_defaults
from server.scopes import own_scope
from server.services import Services
from server.voices import Voice

DEFAULT_MAX_TOKENS = 16
"""OpenAI's default for this route."""

STICKY_CHARACTERS = 200
"""Of a raw prompt's beginning: callers with equal ones get the same of two versions."""

Json = dict[str, Any]
router = APIRouter()


@router.post("/v1/completions", response_model=None)
async def create_completion(
    body: CompletionBody, request: Request, services: ServicesOf, key: KeyOf, request_id: RequestIdOf
) -> Response:
    check_num_choices(body.n, services.settings.server)
    services.require_ready()
    caller = caller_of(key, body.user, str(body.prompts[0])[:STICKY_CHARACTERS])
    voice = await asyncio.to_thread(services.voices.resolve, body.model, key, caller)
    check_bias(body.logit_bias, services)
    prompts = await asyncio.to_thread(lambda: [_tokens(prompt, services) for prompt in body.prompts])
    requests = _requests(body, prompts, voice, key, request_id)
    events = _watched(merge([services.engine.generate(item) for item in requests]))
    text = TextFormat(body, request_id, services.clock(), fingerprint(services, voice), _echoes(body, services))
    if not body.stream:
        whole = await run_until_gone(text.whole(events), request.receive)
        return Response(status_code=499) if whole is None else JSONResponse(whole, headers=version_header(voice))
    pause = services.settings.server.keep_alive_seconds
    begun = await run_until_gone(primed(events, 1, pause), request.receive)
    if begun is None:
        return Response(status_code=499)
    response = StreamedResponse(event_stream(text.chunks(begun), pause, request_id), "text/event-stream")
    response.headers.update(version_header(voice))
    return response


@dataclass(slots=True)
class TextState:
    """What one choice has said so far."""

    text: str = ""
    token_choices: list[TokenChoice] = field(default_factory=list)
    reason: str = "stop"


@dataclass(slots=True)
class TextFormat:
    """OpenAI's text completion objects. `echoes` has the prompt of each choice, empty where not asked for."""

    body: CompletionBody
    request_id: str
    created: int
    system_fingerprint: str
    echoes: list[str]
    finished: list[FinishedEvent] = field(default_factory=list)

    async def whole(self, events: AsyncGenerator[NumberedEvent, None]) -> Json:
        states = [TextState(text=echo) for echo in self.echoes]
        async with aclosing(events):
            async for item in events:
                self._add(states[item.number], item)
        choices = [self._choice(k, s.text, s.token_choices, s.reason, 0) for k, s in enumerate(states)]
        return {**self._head(), "choices": choices, "usage": self._usage()}

    async def chunks(self, events: AsyncGenerator[NumberedEvent, None]) -> AsyncGenerator[object, None]:
        states = [TextState() for _ in self.echoes]
        usage: Json = {"usage": None} if self.body.includes_usage else {}
        async with aclosing(events):
            for number, echo in enumerate(self.echoes):
                if echo:
                    yield {**self._head(), "choices": [self._choice(number, echo, [], None, 0)], **usage}
            async for item in events:
                offset = len(states[item.number].text)
                self._add(states[item.number], item)
                yield {**self._head(), "choices": [self._piece(item, offset)], **usage}
        if self.body.includes_usage:
            yield {**self._head(), "choices": [], "usage": self._usage()}

    def _piece(self, item: NumberedEvent, offset: int) -> Json:
        match item.event:
            case TextEvent(text=text, choices=choices):
                return self._choice(item.number, text, choices, None, offset)
            case FinishedEvent(reason=reason):
                return self._choice(item.number, "", [], reason.value, offset)
            case FailedEvent():
                raise error_of(item.event)

    def _add(self, state: TextState, item: NumberedEvent) -> None:
        match item.event:
            case TextEvent(text=text, choices=choices):
                state.text += text
                state.token_choices += choices
            case FinishedEvent(reason=reason):
                state.reason = reason.value
                self.finished.append(item.event)
            case FailedEvent():
                raise error_of(item.event)

    def _choice(self, number: int, text: str, choices: Sequence[TokenChoice], reason: str | None, offset: int) -> Json:
        has_logprobs = self.body.logprobs is not None and choices
        logprobs = completion_logprobs(choices, offset) if has_logprobs else None
        return {"text": text, "index": number, "logprobs": logprobs, "finish_reason": reason}

    def _head(self) -> Json:
        return {
            "id": f"cmpl-{self.request_id.removeprefix('req_')}",
            "object": "text_completion",
            "created": self.created,
            "model": self.body.model,
            "system_fingerprint": self.system_fingerprint,
        }

    def _usage(self) -> Json:
        """Each prompt counts once, however many choices it has."""
        num_choices = self.body.n or 1
        num_prompt = sum(event.num_prompt_tokens for event in self.finished) // num_choices
        num_answer = sum(event.num_answer_tokens for event in self.finished)
        return {
            "prompt_tokens": num_prompt,
            "completion_tokens": num_answer,
            "total_tokens": num_prompt + num_answer,
            "prompt_tokens_details": {"cached_tokens": min(event.num_cached_tokens for event in self.finished)},
        }


async def _watched(events: AsyncGenerator[NumberedEvent, None]) -> AsyncGenerator[NumberedEvent, None]:
    """Raise an engine's refusal here, so that one that comes first can be an HTTP status."""
    async with aclosing(events):
        async for item in events:
            if isinstance(item.event, FailedEvent):
                raise error_of(item.event)
            yield item


def _requests(
    body: CompletionBody, prompts: list[tuple[int, ...]], voice: Voice, key: ApiKey, request_id: str
) -> list[GenerateRequest]:
    num_choices = body.n or 1
    return [
        GenerateRequest(
            request_id=f"{request_id}-{index * num_choices + choice}",
            tokens=tokens,
            max_tokens=body.max_tokens or DEFAULT_MAX_TOKENS,
            adapter=voice.adapter_ref,
            scopes=(Scope(0, own_scope(key.id)),),
            sampling=sampling_with_defaults(body.sampling, voice.brand.sampling, choice),
            stop=body.stops,
            num_top_logprobs=body.logprobs,
        )
        for index, tokens in enumerate(prompts)
        for choice in range(num_choices)
    ]


def _tokens(prompt: str | list[int], services: Services) -> tuple[int, ...]:
    """A raw prompt may hold turn markers of its own; that is what this route is for."""
    vocabulary, limit = services.vocabulary, services.max_request_tokens
    if isinstance(prompt, str):
        begin = vocabulary.encode(vocabulary.bos_text, True) if vocabulary.add_bos else []
        tokens = [*begin, *vocabulary.encode(prompt, True)]
    else:
        tokens = prompt
        if unknown := next((token for token in tokens if token >= vocabulary.size), None):
            raise BadRequestError(f"Token {unknown} is not in this model's vocabulary of {vocabulary.size}.", "prompt")
    if len(tokens) >= limit:
        raise too_long(limit, len(tokens), "prompt")
    return tuple(tokens)


def _echoes(body: CompletionBody, services: Services) -> list[str]:
    texts = [_text(prompt, services) if body.echo else "" for prompt in body.prompts]
    return [text for text in texts for _ in range(body.n or 1)]


def _text(prompt: str | list[int], services: Services) -> str:
    if isinstance(prompt, str):
        return prompt
    return b"".join(services.vocabulary.piece(token) for token in prompt).decode("utf-8", "replace")
