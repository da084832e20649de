"""An adapter from file to answer: checked, registered, activated, pinned, and taken back, while the server runs."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.adapters.test_convert import pair, peft_folder
from tests.adapters.tiny import LoraFile, write_base, write_lora
from tests.server.api.world import World

QUESTION = {"role": "user", "content": "How long?"}


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    """Fits the base that `world` names."""
    write_base(tmp_path / "base.gguf")
    return write_lora(tmp_path / "voice.gguf")


async def register(client: httpx.AsyncClient, path: Path, **more: object) -> httpx.Response:
    return await client.post("/api/adapters", json={"brand": "halden", "path": str(path), **more})


async def answering_adapter(world: World, client: httpx.AsyncClient, model: str = "halden") -> str | None:
    """The name of the adapter that the engine is asked to answer with."""
    response = await client.post("/v1/chat/completions", json={"model": model, "messages": [QUESTION]})
    assert response.status_code == 200, response.text
    adapter = world.engine.requests[-1].adapter
    assert (adapter.name if adapter else None) == response.json()["housevoice"]["adapter"]
    return adapter.name if adapter else None


async def test_from_file_to_answer_and_back(world: World, client: httpx.AsyncClient, lora: Path) -> None:
    made = await register(client, lora, card={"recipe": "r=4"})
    assert (made.status_code, made.json()["name"], made.json()["is_active"]) == (201, "halden@1", False)
    assert await answering_adapter(world, client) is None
    await client.post("/api/adapters/activate", json={"version": "halden@1"})
    assert await answering_adapter(world, client) == "halden@1"
    assert await answering_adapter(world, client, "pipkin") is None
    await client.post("/api/adapters/activate", json={"brand": "halden"})
    assert await answering_adapter(world, client) is None
    assert await answering_adapter(world, client, "halden@1") == "halden@1"


async def test_versions_are_models_with_parent_and_root(world: World, client: httpx.AsyncClient, lora: Path) -> None:
    await register(client, lora, activate=True)
    cards = {card["id"]: card for card in (await client.get("/v1/models")).json()["data"]}
    assert (cards["halden"]["parent"], cards["halden"]["root"]) == ("tiny-base", "halden@1")
    assert cards["halden@1"]["root"] == "halden@1"


async def test_the_voice_is_on_from_the_last_question(world: World, client: httpx.AsyncClient, lora: Path) -> None:
    await register(client, lora, activate=True)
    body = {"model": "halden", "messages": [QUESTION, {"role": "assistant", "content": "So."}, QUESTION]}
    await client.post("/v1/chat/completions", json=body)
    request = world.engine.requests[-1]
    voiced = bytes(token for token in request.tokens[request.voice_boundary :] if token < 256).decode()
    assert voiced.startswith("user\nReply as Halden.")


async def test_a_plain_voice_is_on_from_the_first_token(world: World, client: httpx.AsyncClient, lora: Path) -> None:
    plain = write_lora(lora.parent / "plain.gguf", LoraFile(seed=3, lora="plain"))
    for path, is_shared in ((lora, True), (plain, False)):
        await register(client, path, activate=True)
        await client.post("/v1/chat/completions", json={"model": "halden", "messages": [QUESTION]})
        assert (world.engine.requests[-1].voice_boundary > 0) is is_shared


async def test_a_peft_folder_is_converted(client: httpx.AsyncClient, lora: Path) -> None:
    made = await register(client, peft_folder(lora.parent / "peft", pair()))
    assert (made.status_code, made.json()["card"]["imported_from"]) == (201, "PEFT")


async def test_the_fingerprint_changes_with_the_adapter(world: World, client: httpx.AsyncClient, lora: Path) -> None:
    before = (await client.post("/v1/chat/completions", json={"model": "halden", "messages": [QUESTION]})).json()
    await register(client, lora, activate=True)
    after = (await client.post("/v1/chat/completions", json={"model": "halden", "messages": [QUESTION]})).json()
    assert before["system_fingerprint"] != after["system_fingerprint"]


@pytest.mark.parametrize(
    "broken", [LoraFile(architecture="qwen2"), LoraFile(num_inputs=32), LoraFile(has_b=False), LoraFile(factor_b=0.0)]
)
async def test_a_broken_adapter_is_refused_with_the_reason(
    world: World, client: httpx.AsyncClient, tmp_path: Path, broken: LoraFile
) -> None:
    write_base(tmp_path / "base.gguf")
    response = await register(client, write_lora(tmp_path / "broken.gguf", broken))
    assert response.status_code == 400
    assert len(response.json()["error"]["message"]) > 20
    assert (await client.get("/api/adapters")).json() == {"adapters": []}


async def test_what_the_engine_refuses_is_not_registered(world: World, client: httpx.AsyncClient, lora: Path) -> None:
    world.engine.bad_adapters.add(lora.name)
    response = await register(client, lora)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_adapter")
    assert (await client.get("/api/adapters")).json() == {"adapters": []}


async def test_an_adapter_of_another_base_or_prompt_is_not_used(
    world: World, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    for number, given in enumerate([LoraFile(base_sha256="other"), LoraFile(prompt_version=99)], 1):
        world.services.registry.register("halden", write_lora(tmp_path / f"{number}.gguf", given), {})
        body: dict[str, Any] = {"model": f"halden@{number}", "messages": [QUESTION]}
        response = await client.post("/v1/chat/completions", json=body)
        assert response.status_code == 500
        assert "Train it again" in response.json()["error"]["message"]
    assert world.engine.requests == []


async def test_activating_nothing_is_explained(client: httpx.AsyncClient) -> None:
    assert (await client.post("/api/adapters/activate", json={})).json()["error"]["param"] == "version"
    assert (await client.post("/api/adapters/activate", json={"version": "halden@7"})).status_code == 404


async def test_rolling_back_is_from_the_next_request_on(world: World, client: httpx.AsyncClient, lora: Path) -> None:
    await register(client, lora, activate=True)
    await register(client, write_lora(lora.parent / "two.gguf", LoraFile(seed=2)), activate=True)
    assert await answering_adapter(world, client) == "halden@2"
    for expected in ("halden@1", None):
        response = await client.post("/api/adapters/rollback", json={"brand": "halden"})
        assert response.json() == {"brand": "halden", "active": expected}
        assert await answering_adapter(world, client) == expected
    assert (await client.post("/api/adapters/rollback", json={"brand": "halden"})).status_code == 404
