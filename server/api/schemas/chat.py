"""POST /v1/chat/completions: OpenAI's parameters; what is not offered is refused by name. `retrieval` is ours."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from config.prompt import Turn
from server.api.schemas.common import MAX_TOP_LOGPROBS, Body, PositiveCount, SamplingBody, wrong
from server.api.schemas.retrieval import RetrievalBody

MAX_SCHEMA_CHARACTERS = 100_000
TEXT_PARTS = {"text": "text", "refusal": "refusal"}
"""Kinds of content part that hold text, and the key it stands under."""

NOT_OFFERED = {
    "audio": "Audio output is not offered.",
    "prediction": "Predicted outputs are not offered.",
    "web_search_options": "Web search is not offered; answers come from the indexed documents.",
    "moderation": "Moderation is not offered.",
    "prompt_cache_options": "Prompt caching needs no options here: equal prefixes are always reused.",
}
ONLY_VALUES: dict[str, tuple[object, ...]] = {
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "prompt_cache_retention": ("in_memory", "in-memory"),
    "store": (False,),
    "function_call": ("none",),
}
"""Parameters that are understood but have one meaning here."""


def flatten_content(content: object) -> str:
    """The text of a message: a string, or the text parts joined. Raises for images, audio and files."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise PydanticCustomError("content", "content must be a string or a list of text parts.")
    return "\n".join(_part_text(part) for part in content)


def _part_text(part: object) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or kind not in TEXT_PARTS:
        raise PydanticCustomError("content", "Content parts of type {kind} are not offered; send text.", {"kind": kind})
    text = part.get(TEXT_PARTS[kind])
    if not isinstance(text, str):
        raise PydanticCustomError("content", "The part's {key} must be a string.", {"key": TEXT_PARTS[kind]})
    return text


class Message(Body):
    """Tool messages are refused with the tools they belong to. A `name` is put in front of the text."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(flatten_content, json_schema_input_type=str | list[dict[str, Any]])]
    name: Annotated[str, Field(max_length=200)] | None = None
    refusal: str | None = None
    annotations: list[dict[str, Any]] | None = None
    tool_calls: Annotated[list[dict[str, Any]], Field(max_length=0)] | None = None
    function_call: None = None
    audio: None = None

    @model_validator(mode="before")
    @classmethod
    def _refusal_is_content(cls, message: object) -> object:
        """An earlier answer of ours may come back with its text under `refusal`."""
        if isinstance(message, dict) and message.get("content") is None and isinstance(message.get("refusal"), str):
            return {**message, "content": message["refusal"]}
        return message

    @property
    def text(self) -> str:
        return f"{self.name}: {self.content}" if self.name else self.content

    @property
    def is_instruction(self) -> bool:
        return self.role in ("system", "developer")


class JsonSchemaFormat(Body):
    name: Annotated[str, Field(min_length=1, max_length=64)]
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _schema_belongs_to_its_type(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise wrong("response_format.json_schema", "json_schema is needed with type json_schema, and only there.")
        return self

    @property
    def schema_text(self) -> str | None:
        """JSON text of the schema; "{}" for any object; None for free text."""
        if self.type == "text":
            return None
        return json.dumps(self.json_schema.schema_ or {}) if self.json_schema else "{}"


class ChatBody(SamplingBody):
    model: Annotated[str, Field(min_length=1, max_length=200)]
    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: PositiveCount | None = None
    max_completion_tokens: PositiveCount | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    response_format: ResponseFormat | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    functions: list[dict[str, Any]] | None = None
    function_call: Any = None
    metadata: Annotated[dict[str, Annotated[str, Field(max_length=512)]], Field(max_length=16)] | None = None
    safety_identifier: Annotated[str, Field(max_length=1_000)] | None = None
    prompt_cache_key: Annotated[str, Field(max_length=1_000)] | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: Any = None
    service_tier: str | None = None
    modalities: list[str] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    store: bool | None = None
    audio: Any = None
    prediction: Any = None
    web_search_options: Any = None
    moderation: Any = None
    retrieval: RetrievalBody | None = None

    @model_validator(mode="after")
    def _refuse_what_is_not_offered(self) -> Self:
        for name, message in NOT_OFFERED.items():
            if getattr(self, name) is not None:
                raise wrong(name, message, "unsupported_parameter")
        for name, allowed in ONLY_VALUES.items():
            if (value := getattr(self, name)) is not None and value not in allowed:
                raise wrong(name, f"{name} = {json.dumps(value)} is not offered, only {json.dumps(allowed[0])}.")
        return self

    @model_validator(mode="after")
    def _refuse_tools(self) -> Self:
        may_call = self.tool_choice not in (None, "none")
        if may_call and not self.tools:
            raise wrong("tool_choice", "tool_choice is only allowed with tools.")
        if self.parallel_tool_calls is not None and not self.tools:
            raise wrong("parallel_tool_calls", "parallel_tool_calls is only allowed with tools.")
        if self.tools and self.tool_choice != "none":
            raise wrong("tools", "Tools are not offered; leave them out or send tool_choice 'none'.")
        if self.functions and self.function_call != "none":
            raise wrong("functions", "Functions are not offered; leave them out or send function_call 'none'.")
        return self

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise wrong("max_tokens", "Send max_completion_tokens or max_tokens, not both.")
        if self.top_logprobs is not None and not self.logprobs:
            raise wrong("top_logprobs", "top_logprobs is only allowed when logprobs is true.")
        if self.messages[-1].role != "user":
            raise wrong("messages", "The last message must be the user's question.")
        if not self.messages[-1].content.strip():
            raise wrong(f"messages[{len(self.messages) - 1}].content", "The last message is empty.")
        return self

    @property
    def turns(self) -> tuple[Turn, ...]:
        return tuple(
            Turn("user" if message.role == "user" else "assistant", message.text)
            for message in self.messages
            if not message.is_instruction
        )

    @property
    def instructions(self) -> str:
        """System and developer messages, wherever they stand."""
        return "\n\n".join(message.text for message in self.messages if message.is_instruction)

    @property
    def num_top_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def wanted_retrieval(self) -> RetrievalBody:
        return self.retrieval or RetrievalBody()

    @property
    def schema_text(self) -> str | None:
        return self.response_format.schema_text if self.response_format else None
