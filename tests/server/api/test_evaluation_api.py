"""What an evaluation needs of the API: answers without documents, the sources' text, and scores beside a version."""

from pathlib import Path
from typing import Any

import httpx

from adapters.evaluation.questions import Source
from adapters.evaluation.run import Ask
from config.prompt import Turn
from server.cli.asking import answer_of, chat_body
from tests.adapters.tiny import write_base, write_lora
from tests.server.api.world import World, open_world

QUESTION = {"role": "user", "content": "How long?"}
PATHS = {"warranty": "warranty.md", "manual": "manual.md"}


async def asked(client: httpx.AsyncClient, **retrieval: object) -> dict[str, Any]:
    body = {"model": "halden", "messages": [QUESTION], "retrieval": retrieval}
    response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def prompt_of(world: World) -> str:
    return bytes(token for token in world.engine.requests[-1].tokens if token < 256).decode()


async def test_without_documents_the_voice_answers_alone(
    world: World, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    write_base(tmp_path / "base.gguf")
    lora = write_lora(tmp_path / "voice.gguf")
    await client.post("/api/adapters", json={"brand": "halden", "path": str(lora), "activate": True})
    found = await asked(client, enabled=False)
    assert world.retriever.queries == []
    assert found["housevoice"]["retrieved"] == []
    assert found["housevoice"]["adapter"] == "halden@1"
    request = world.engine.requests[-1]
    assert request.adapter is not None
    assert "36 months" not in prompt_of(world)
    assert "Reply as Halden." in prompt_of(world)


async def test_the_text_of_sources_comes_only_where_it_is_asked_for(client: httpx.AsyncClient) -> None:
    assert "text" not in (await asked(client))["housevoice"]["sources"][0]
    found = (await asked(client, include_text=True))["housevoice"]
    assert found["retrieved"][0]["text"] == "The H5 is covered for 36 months."
    assert found["sources"] == [found["retrieved"][0]]
    assert found["sources"][0]["heading"] == "Terms"


async def test_numbers_of_shown_sources_are_those_of_the_text(tmp_path: Path) -> None:
    """Cited as [2] by the model, shown to the reader as [1]."""
    async with open_world(tmp_path, "It is [2].") as world, world.client(world.admin) as client:
        found = await asked(client, include_text=True)
    (shown,) = found["housevoice"]["sources"]
    assert (shown["number"], shown["document_id"]) == (1, "manual")
    assert [source["number"] for source in found["housevoice"]["retrieved"]] == [1, 2, 3]


async def test_an_answer_arrives_with_its_markers_and_sources(tmp_path: Path) -> None:
    ask = Ask("halden", (Turn("user", "How long?"),), instructions="Be brief.")
    async with open_world(tmp_path, "It is so [2]. And so [1].") as world, world.client(world.admin) as client:
        response = (await client.post("/v1/chat/completions", json=chat_body(ask))).json()
        assert "Be brief." in prompt_of(world)
    answer = answer_of(response, PATHS)
    assert answer.text == "It is so [1]. And so [2]."
    assert [answer.text[marker.start : marker.end] for marker in answer.markers] == ["[1]", "[2]"]
    assert answer.cited_paths == ("manual.md", "warranty.md")
    assert answer.sources[0] == Source("warranty.md", "Warranty H5", "Terms", "The H5 is covered for 36 months.")


async def test_the_servers_own_refusal_is_told(client: httpx.AsyncClient) -> None:
    ask = Ask("halden", (Turn("user", "unknown thing"),))
    answer = answer_of((await client.post("/v1/chat/completions", json=chat_body(ask))).json(), PATHS)
    assert (answer.is_refusal, answer.text, answer.sources) == (True, "The documents do not state this.", ())


async def test_scores_stand_beside_an_unchanged_version(
    world: World, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    write_base(tmp_path / "base.gguf")
    body = {"brand": "halden", "path": str(write_lora(tmp_path / "voice.gguf")), "card": {"num_rows": 9}}
    before = (await client.post("/api/adapters", json=body)).json()
    assert before["scores"] == []
    added = await client.post("/api/adapters/halden@1/scores", json={"scores": {"passes": True}})
    assert (added.status_code, added.json()["scores"]) == (201, [{"passes": True}])
    (row,) = (await client.get("/api/adapters")).json()["adapters"]
    assert row["scores"] == [{"passes": True}]
    assert {**row, "scores": []} == before
    assert (await client.post("/api/adapters/halden@7/scores", json={"scores": {}})).status_code == 404
    async with world.client(world.reader) as reader:
        refused = await reader.post("/api/adapters/halden@1/scores", json={"scores": {}})
        assert refused.status_code == 403
