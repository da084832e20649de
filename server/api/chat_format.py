"""From answer events to OpenAI's chat completion objects, whole and in chunks."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from server.answer import AnswerEvent, AnswerFinished, AnswerStarted, AnswerText, ChoiceFinished
from server.api.logprobs import chat_logprobs
from server.candidates import RetrievedSource
from server.citations import Citation
from server.engine.messages import FinishReason, TokenChoice

Json = dict[str, Any]
"""A wire object on its way out; nothing of ours takes one in."""


@dataclass(slots=True)
class ChoiceState:
    """What one choice has said so far."""

    parts: list[str] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    token_choices: list[TokenChoice] = field(default_factory=list)
    reason: FinishReason = FinishReason.STOP
    has_begun: bool = False


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """One response's fixed fields, and how to write the rest.

    is_json: the client asked for JSON, so the brand's refusal goes under `refusal`, where JSON is not expected.
    sends_source_events: Open WebUI asked; it shows the snippets from an extra key in a normal chunk.
    includes_source_text: the client asked for what the model was given.
    """

    request_id: str
    model: str
    created: int
    system_fingerprint: str
    adapter: str | None
    base_url: str
    num_choices: int = 1
    is_json: bool = False
    has_logprobs: bool = False
    includes_usage: bool = False
    sends_source_events: bool = False
    includes_source_text: bool = False

    @property
    def completion_id(self) -> str:
        return f"chatcmpl-{self.request_id.removeprefix('req_')}"

    async def whole(self, events: AsyncGenerator[AnswerEvent, None]) -> Json:
        """The response of a request without `stream`."""
        states = [ChoiceState() for _ in range(self.num_choices)]
        started, usage = AnswerStarted(()), AnswerFinished(0, 0, 0)
        async with aclosing(events):
            async for event in events:
                match event:
                    case AnswerStarted():
                        started = event
                    case AnswerText():
                        _add(states[event.choice], event)
                    case ChoiceFinished():
                        states[event.choice].reason = event.reason
                    case AnswerFinished():
                        usage = event
        return {
            "id": self.completion_id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [self._choice(number, state, started) for number, state in enumerate(states)],
            "usage": usage_of(usage),
            "system_fingerprint": self.system_fingerprint,
            "housevoice": self._extras(states[0], started),
        }

    async def chunks(self, events: AsyncGenerator[AnswerEvent, None]) -> AsyncGenerator[object, None]:
        """The chunks of a streamed response, each with `choices`."""
        states = [ChoiceState() for _ in range(self.num_choices)]
        started = AnswerStarted(())
        async with aclosing(events):
            async for event in events:
                match event:
                    case AnswerStarted():
                        started = event
                    case AnswerText():
                        for chunk in self._text_chunks(event, states[event.choice], started):
                            yield chunk
                    case ChoiceFinished():
                        for chunk in self._finish_chunks(event, states[event.choice], started):
                            yield chunk
                    case AnswerFinished() if self.includes_usage:
                        yield {**self._head(), "choices": [], "usage": usage_of(event)}

    def _text_chunks(self, event: AnswerText, state: ChoiceState, started: AnswerStarted) -> Iterator[Json]:
        yield from self._role_chunk(event.choice, state)
        _add(state, event)
        logprobs = chat_logprobs(event.token_choices) if self.has_logprobs else None
        if event.text or logprobs:
            yield self._chunk(event.choice, {self._text_key(started): event.text}, logprobs=logprobs)

    def _finish_chunks(self, event: ChoiceFinished, state: ChoiceState, started: AnswerStarted) -> Iterator[Json]:
        yield from self._role_chunk(event.choice, state)
        if state.citations:
            yield self._chunk(event.choice, {"annotations": self._annotations(state)})
        if self.sends_source_events:
            for source_event in self._source_events(state, started):
                yield {**self._chunk(event.choice, {}), "event": source_event}
        chunk = self._chunk(event.choice, {}, finish_reason=event.reason.value)
        yield {**chunk, "housevoice": self._extras(state, started)}

    def _role_chunk(self, choice: int, state: ChoiceState) -> Iterator[Json]:
        if not state.has_begun:
            state.has_begun = True
            yield self._chunk(choice, {"role": "assistant", "content": ""})

    def _chunk(
        self, choice: int, delta: Json, *, logprobs: Json | None = None, finish_reason: str | None = None
    ) -> Json:
        item = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        usage: Json = {"usage": None} if self.includes_usage else {}
        return {**self._head(), "choices": [item], **usage}

    def _head(self) -> Json:
        return {
            "id": self.completion_id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.system_fingerprint,
        }

    def _choice(self, number: int, state: ChoiceState, started: AnswerStarted) -> Json:
        message = {"role": "assistant", "content": None, "refusal": None, "annotations": self._annotations(state)}
        message[self._text_key(started)] = "".join(state.parts)
        logprobs = chat_logprobs(state.token_choices) if self.has_logprobs else None
        return {"index": number, "message": message, "logprobs": logprobs, "finish_reason": state.reason.value}

    def _text_key(self, started: AnswerStarted) -> str:
        return "refusal" if started.is_refusal and self.is_json else "content"

    def _annotations(self, state: ChoiceState) -> list[Json]:
        return [
            {
                "type": "url_citation",
                "url_citation": {
                    "url": self._url(citation.cited.document_id, citation.cited.chunk_id),
                    "title": citation.cited.title,
                    "start_index": citation.start,
                    "end_index": citation.end,
                },
            }
            for citation in state.citations
        ]

    def _extras(self, state: ChoiceState, started: AnswerStarted) -> Json:
        """`housevoice`: what annotations have no room for. JSON answers keep the model's own source numbers."""
        retrieved = self._retrieved_sources(started)
        return {
            "request_id": self.request_id,
            "adapter": self.adapter,
            "is_refusal": started.is_refusal,
            "sources": retrieved if self.is_json else self._cited_sources(state, retrieved),
            "retrieved": retrieved,
        }

    def _cited_sources(self, state: ChoiceState, retrieved: list[Json]) -> list[Json]:
        """Each cited place once, by the number that the text shows."""
        places = {(citation.number, citation.cited.chunk_id): citation for citation in state.citations}
        given = {source["number"]: source for source in retrieved}
        return [{**given[c.source_number], "number": c.number} for _, c in sorted(places.items())]

    def _retrieved_sources(self, started: AnswerStarted) -> list[Json]:
        """All that the model was given, by the numbers that it saw."""
        return [self._source(source) for source in started.sources]

    def _source(self, source: RetrievedSource) -> Json:
        document = source.document
        told = {
            "number": source.number,
            "document_id": document.document_id,
            "title": document.title,
            "location": source.location,
            "url": self._url(document.document_id, source.chunks[0].chunk_id),
        }
        return told | ({"heading": source.heading, "text": source.text} if self.includes_source_text else {})

    def _source_events(self, state: ChoiceState, started: AnswerStarted) -> Iterator[Json]:
        cited = {citation.source_number: citation for citation in state.citations}
        for source in started.sources:
            if citation := cited.get(source.number):
                yield {"type": "source", "data": self._open_webui_source(citation, source)}

    def _open_webui_source(self, citation: Citation, source: RetrievedSource) -> Json:
        url = self._url(citation.cited.document_id, citation.cited.chunk_id)
        metadata = {"source": url, "name": f"[{citation.number}] {source.document.title}", "page": source.location}
        return {
            "source": {"name": metadata["name"], "url": url},
            "document": [source.text],
            "metadata": [metadata],
        }

    def _url(self, document_id: str, chunk_id: str) -> str:
        return f"{self.base_url}/documents/{document_id}#chunk-{chunk_id}"


def usage_of(event: AnswerFinished) -> Json:
    return {
        "prompt_tokens": event.num_prompt_tokens,
        "completion_tokens": event.num_answer_tokens,
        "total_tokens": event.num_prompt_tokens + event.num_answer_tokens,
        "prompt_tokens_details": {"cached_tokens": event.num_cached_tokens},
    }


def _add(state: ChoiceState, event: AnswerText) -> None:
    state.parts.append(event.text)
    state.citations += event.citations
    state.token_choices += event.token_choices
