"""Canaries and retirement while the server answers."""

import asyncio
import hashlib
import time
from pathlib import Path

import httpx
import pytest

from adapters.identity import Identity
from server.api import admin_versions
from tests.adapters.tiny import LoraFile, write_base, write_lora
from tests.server.api.world import World


@pytest.fixture
async def versions(world: World, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """halden@1 is active, halden@2 is not."""
    write_base(tmp_path / "base.gguf")
    for seed in (1, 2):
        path = write_lora(tmp_path / f"{seed}.gguf", LoraFile(seed=seed))
        body = {"brand": "halden", "path": str(path), "activate": seed == 1}
        assert (await client.post("/api/adapters", json=body)).status_code == 201


async def ask(client: httpx.AsyncClient, question: str, model: str = "halden", user: str = "") -> httpx.Response:
    messages = [{"role": "user", "content": question}]
    return await client.post("/v1/chat/completions", json={"model": model, "messages": messages, "user": user})


async def answering(client: httpx.AsyncClient, question: str, user: str = "") -> str:
    """The version that answered, which header and body agree on."""
    response = await ask(client, question, user=user)
    assert response.headers["x-housevoice-version"] == response.json()["housevoice"]["adapter"]
    return str(response.headers["x-housevoice-version"])


def wait_until_pinned(world: World) -> None:
    """Brand files are looked at again at most twice a second."""
    while world.services.brands.brands()["halden"].adapter == "active":
        time.sleep(0.05)


def wait_until_gone(path: Path) -> None:
    while path.exists():
        time.sleep(0.02)


async def state(client: httpx.AsyncClient, name: str) -> dict[str, object]:
    rows = (await client.get("/api/adapters")).json()["adapters"]
    return dict(next(row for row in rows if row["name"] == name))


@pytest.mark.usefixtures("versions")
async def test_a_share_of_the_conversations_gets_the_canary_and_keeps_it(client: httpx.AsyncClient) -> None:
    await client.post("/api/adapters/canary", json={"version": "halden@2", "share": 0.3})
    questions = [f"Question {number}?" for number in range(200)]
    first = [await answering(client, question) for question in questions]
    assert set(first) == {"halden@1", "halden@2"}
    assert 35 <= first.count("halden@2") <= 85
    assert [await answering(client, question) for question in questions] == first
    await client.post("/api/adapters/canary", json={"version": "halden@2", "share": 0.6})
    wider = [await answering(client, question) for question in questions]
    assert all(after == "halden@2" for before, after in zip(first, wider, strict=True) if before == "halden@2")
    assert wider.count("halden@2") > first.count("halden@2")
    assert (await state(client, "halden@2"))["canary"] is not None
    assert (await state(client, "halden@1"))["canary"] is None


@pytest.mark.usefixtures("versions")
async def test_all_turns_of_a_conversation_have_one_voice(world: World, client: httpx.AsyncClient) -> None:
    await client.post("/api/adapters/canary", json={"version": "halden@2", "share": 0.5})
    for number in range(20):
        first = {"role": "user", "content": f"Question {number}?"}
        later = [first, {"role": "assistant", "content": "So."}, {"role": "user", "content": "And then?"}]
        body = {"model": "halden", "messages": later}
        begun = await answering(client, f"Question {number}?")
        assert (await client.post("/v1/chat/completions", json=body)).headers["x-housevoice-version"] == begun
        named = {"X-OpenWebUI-Chat-Id": f"chat-{number}"}
        voices = set()
        for question in ("One?", "Two?", "Three?"):
            body = {"model": "halden", "messages": [{"role": "user", "content": question}]}
            response = await client.post("/v1/chat/completions", json=body, headers=named)
            voices.add(response.headers["x-housevoice-version"])
        assert len(voices) == 1


@pytest.mark.usefixtures("versions")
async def test_a_named_key_always_gets_the_canary_and_nobody_else_does(world: World, client: httpx.AsyncClient) -> None:
    unknown = await client.post("/api/adapters/canary", json={"version": "halden@2", "keys": ["nobody"]})
    assert unknown.status_code == 404
    await client.post("/api/adapters/canary", json={"version": "halden@2", "keys": ["reader"]})
    async with world.client(world.reader) as reader:
        assert {await answering(reader, f"{number}?") for number in range(10)} == {"halden@2"}
        assert {await answering(reader, f"{number}?", user="x") for number in range(10)} == {"halden@2"}
        pinned = await ask(reader, "1?", "halden@1")
        assert pinned.headers["x-housevoice-version"] == "halden@1"
    assert {await answering(client, f"{number}?") for number in range(10)} == {"halden@1"}


@pytest.mark.usefixtures("versions")
async def test_promotion_is_activation_and_stopping_is_immediate(client: httpx.AsyncClient) -> None:
    body = {"version": "halden@2", "share": 1.0}
    assert (await client.post("/api/adapters/canary", json=body)).json()["name"] == "halden@2"
    assert await answering(client, "1?") == "halden@2"
    await client.delete("/api/adapters/canary/halden")
    assert await answering(client, "1?") == "halden@1"
    await client.post("/api/adapters/canary", json=body)
    await client.post("/api/adapters/activate", json={"version": "halden@2"})
    assert (await state(client, "halden@2"))["canary"] is None
    assert await answering(client, "1?") == "halden@2"
    again = await client.post("/api/adapters/canary", json=body)
    assert again.status_code == 400
    assert "is active" in again.json()["error"]["message"]


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize("share", [-0.1, 1.1, 0.0])
async def test_a_share_that_is_none_is_refused(client: httpx.AsyncClient, share: float) -> None:
    response = await client.post("/api/adapters/canary", json={"version": "halden@2", "share": share})
    assert response.status_code == 400


@pytest.mark.usefixtures("versions")
async def test_a_brand_that_pins_its_version_takes_no_canary(
    world: World, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    file = tmp_path / "brands" / "halden.toml"
    file.write_text(f'{file.read_text(encoding="utf-8")}adapter = "halden@1"\n', encoding="utf-8")
    await asyncio.to_thread(wait_until_pinned, world)
    canary = await client.post("/api/adapters/canary", json={"version": "halden@2", "share": 0.5})
    assert (canary.status_code, "adapter = 'halden@1'" in canary.json()["error"]["message"]) == (400, True)
    await client.post("/api/adapters/activate", json={"version": "halden@2"})
    retired = await client.post("/api/adapters/retire", json={"version": "halden@1", "reason": "Old."})
    assert (retired.status_code, "Change that file" in retired.json()["error"]["message"]) == (400, True)


@pytest.mark.usefixtures("versions")
async def test_a_retired_version_is_refused_with_its_reason_everywhere(client: httpx.AsyncClient) -> None:
    await client.post("/api/adapters/canary", json={"version": "halden@2", "share": 1.0})
    active = await client.post("/api/adapters/retire", json={"version": "halden@1", "reason": "Old."})
    assert (active.status_code, "Activate another first" in active.json()["error"]["message"]) == (400, True)
    await client.post("/api/adapters/retire", json={"version": "halden@2", "reason": "It swears."})
    assert await answering(client, "1?") == "halden@1"
    direct = await ask(client, "1?", "halden@2")
    assert (direct.status_code, direct.json()["error"]["code"]) == (404, "model_retired")
    assert "It swears." in direct.json()["error"]["message"]
    assert "halden@2" not in {card["id"] for card in (await client.get("/v1/models")).json()["data"]}
    for path, body in {"activate": {}, "canary": {"share": 0.5}}.items():
        refused = await client.post(f"/api/adapters/{path}", json={"version": "halden@2", **body})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "adapter_retired")


async def test_a_retired_file_goes_once_no_answer_can_need_it(
    world: World, client: httpx.AsyncClient, versions: None
) -> None:
    registry = world.services.registry
    path = registry.get("halden@2").path
    body = {"version": "halden@2", "reason": "Wrong.", "delete_file": True}
    assert (await client.post("/api/adapters/retire", json=body)).json()["retired"]["file"] == "leaving"
    assert path.exists()
    assert registry.delete_retired_files() == ["halden@2"]
    assert not path.exists()
    assert (await state(client, "halden@2"))["retired"] == {
        "unix_seconds": registry.get("halden@2").retirement.unix_seconds,  # type: ignore[union-attr]
        "reason": "Wrong.",
        "file": "deleted",
    }
    assert registry.delete_retired_files() == []


@pytest.mark.usefixtures("versions")
async def test_the_running_server_deletes_the_file_when_the_longest_answer_has_ended(
    world: World, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_versions, "DELETION_MARGIN_SECONDS", 0.0)
    engine = world.services.settings.engine.model_copy(update={"request_timeout_seconds": 0.2})
    world.services.settings = world.services.settings.model_copy(update={"engine": engine})
    path = world.services.registry.get("halden@2").path
    body = {"version": "halden@2", "reason": "Wrong.", "delete_file": True}
    assert (await client.post("/api/adapters/retire", json=body)).status_code == 200
    await asyncio.to_thread(wait_until_gone, path)
    assert (path.parent / "card.json").exists()


async def test_an_adapter_of_another_base_cannot_be_put_to_use(
    world: World, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    given = write_lora(tmp_path / "1.gguf", LoraFile(base_sha256="c" * 64, prompt_version=1))
    world.services.registry.register("halden", given, {})
    for path, body in {"activate": {}, "canary": {"share": 0.5}}.items():
        refused = await client.post(f"/api/adapters/{path}", json={"version": "halden@1", **body})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "adapter_mismatch")
        message = refused.json()["error"]["message"]
        assert "another base (cccccccccccc, served is ba5e" in message
        assert "housevoice adapter train halden EXAMPLES.jsonl" in message
    assert (await state(client, "halden@1"))["mismatch"]


@pytest.mark.usefixtures("versions")
async def test_a_version_for_another_base_waits_for_it(world: World, client: httpx.AsyncClient, tmp_path: Path) -> None:
    base = write_base(tmp_path / "next.gguf")
    sha256 = hashlib.sha256(base.read_bytes()).hexdigest()
    path = write_lora(tmp_path / "next-voice.gguf", LoraFile(seed=5, base_sha256=sha256))
    body = {"brand": "halden", "path": str(path), "base": str(base), "card": {"parent": "halden@1"}}
    staged = await client.post("/api/adapters/stage", json=body)
    assert (staged.status_code, staged.json()["name"]) == (201, "halden@3")
    assert "another base" in staged.json()["mismatch"]
    assert await answering(client, "1?") == "halden@1"
    world.services.registry.served = Identity(sha256)
    assert world.services.registry.activate_staged() == ["halden@3"]
    wrong = write_lora(tmp_path / "wrong.gguf", LoraFile(seed=6, base_sha256="0" * 64))
    assert (await client.post("/api/adapters/stage", json={**body, "path": str(wrong)})).status_code == 400
    assert (await client.post("/api/adapters/stage", json={**body, "base": "/none.gguf"})).status_code == 400


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_version_is_told_before_the_first_token(client: httpx.AsyncClient, path: str, stream: bool) -> None:
    asked = {"messages": [{"role": "user", "content": "1?"}]} if "chat" in path else {"prompt": "1?"}
    for model, version in {"halden": "halden@1", "halden@2": "halden@2", "pipkin": "pipkin@0"}.items():
        response = await client.post(path, json={"model": model, "stream": stream, **asked})
        assert response.headers["x-housevoice-version"] == version
    plain = await client.post(path, json={"model": "tiny-base", "stream": stream, **asked})
    assert "x-housevoice-version" not in plain.headers
