"""R5: a broken or mismatched adapter is refused with its own reason, over the API and over the command line; what
answers goes on answering, in the same engine process.
"""

import json
import pickle
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from server.cli.main import app
from tests.adapters.tiny import LoraFile, write_lora
from tests.server.tiny_server import TinyServer

LAYER = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"


@dataclass(frozen=True, slots=True)
class Broken:
    """make: writes it into a folder and returns its path. reason: what the refusal says, as a regular expression."""

    make: Callable[[Path], Path]
    reason: str


def lora(given: LoraFile) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with np.errstate(invalid="ignore"):
            return write_lora(folder / "adapter.gguf", given)

    return make


def damaged(damage: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = write_lora(folder / "adapter.gguf")
        path.write_bytes(damage(path.read_bytes()))
        return path

    return make


def absurd(data: bytes) -> bytes:
    """The tensor table says 2^60 rows for the first tensor."""
    name = b"blk.0.attn_q.weight.lora_a"
    place = data.index(name) + len(name) + 4
    return data[:place] + struct.pack("<Q", 2**60) + data[place + 8 :]


def peft(*, pickled: bool = False, rank: int = 4, values: float = 1.0, **config: object) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        target = folder / "peft"
        target.mkdir()
        settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, **config}
        (target / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
        matrices = {
            LAYER.format("A"): np.full((rank, 64), values, np.float32),
            LAYER.format("B"): np.full((64, rank), values, np.float32),
        }
        if pickled:
            (target / "adapter_model.bin").write_bytes(pickle.dumps(matrices))
        else:
            save_file(matrices, target / "adapter_model.safetensors")
        return target

    return make


BROKEN = {
    "empty": Broken(damaged(lambda data: b""), "cannot be used"),
    "truncated header": Broken(damaged(lambda data: data[:120]), "damaged GGUF file"),
    "truncated data": Broken(damaged(lambda data: data[:-100]), "ends inside tensor"),
    "garbage": Broken(damaged(lambda data: b"GGUF" + b"\xff" * 200), "GGUF version 4294967295"),
    "pickle": Broken(damaged(lambda data: pickle.dumps({"lora": [1.0]})), "is not a GGUF file"),
    "absurd dimensions": Broken(damaged(absurd), "ends inside tensor"),
    "wrong architecture": Broken(lora(LoraFile(architecture="qwen2")), "architecture 'qwen2'; the base is 'llama'"),
    "wrong shape": Broken(lora(LoraFile(num_inputs=32)), r"\(32, 4\) x \(4, 64\)"),
    "unknown tensor": Broken(lora(LoraFile(name="blk.9.attn_q.weight")), "which the base does not have"),
    "half a pair": Broken(lora(LoraFile(has_b=False)), "only one of"),
    "no adapter": Broken(lora(LoraFile(general_type="model")), "general.type 'model'"),
    "wrong base": Broken(lora(LoraFile(base_sha256="f" * 64)), "trained on the base ffffffffffff"),
    "other prompt version": Broken(lora(LoraFile(prompt_version=99)), "prompt version 99"),
    "unknown kind": Broken(lora(LoraFile(lora="both")), "housevoice.lora 'both'"),
    "all zero": Broken(lora(LoraFile(factor_b=0.0)), "no effect: in each pair one side is zero"),
    "hardly any effect": Broken(lora(LoraFile(factor_b=1e-8)), "has no effect"),
    "not numbers": Broken(lora(LoraFile(factor_b=float("nan"))), "not finite"),
    "infinite scale": Broken(lora(LoraFile(alpha=float("inf"))), "adapter.lora.alpha inf"),
    "pickled PEFT": Broken(peft(pickled=True), "has no adapter_model.safetensors"),
    "DoRA": Broken(peft(use_dora=True), "uses DoRA"),
    "trained embeddings": Broken(peft(modules_to_save=["embed_tokens"]), "modules_to_save"),
    "rank that is not its own": Broken(peft(rank=2), "have rank 2; its configuration says 4"),
    "too large for half precision": Broken(peft(values=1e6), "not finite"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    running = TinyServer(tmp_path_factory.mktemp("server"))
    running.prepare()
    try:
        running.start()
        running.register_versions()
        yield running
    finally:
        running.kill()


def standing(server: TinyServer) -> dict[str, Any]:
    """What must not change."""
    versions = httpx.get(f"{server.url}/api/adapters", headers=server.headers, timeout=60).json()["adapters"]
    engine = server.status()["engine"]
    return {
        "versions": [(version["name"], version["is_active"], version["sha256"]) for version in versions],
        "engine": (engine["pid"], engine["num_restarts"], engine["is_ready"]),
        "files": sorted(str(path) for path in (server.data / "adapters").rglob("*")),
    }


def refusal_over_the_api(server: TinyServer, path: Path) -> str:
    body = {"brand": "alder", "path": str(path), "activate": True}
    response = httpx.post(f"{server.url}/api/adapters", json=body, headers=server.headers, timeout=60)
    assert response.status_code == 400, response.text
    return str(response.json()["error"]["message"])


def refusal_of_the_command(server: TinyServer, path: Path) -> str:
    environment = {
        "HOUSEVOICE_DATA_DIR": str(server.data),
        "HOUSEVOICE_MODELS_BASE": str(server.base),
        "HOUSEVOICE_MODELS_BASE_NAME": "tiny",
        "HOUSEVOICE_STORAGE_BRANDS_DIR": str(server.folder / "brands"),
    }
    result = CliRunner().invoke(app, ["adapter", "import", "alder", str(path), "--activate"], env=environment)
    assert result.exit_code == 2, result.output
    return result.output.replace("\n", "")


@pytest.mark.parametrize("door", [refusal_over_the_api, refusal_of_the_command], ids=["api", "cli"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_adapter_is_refused_and_nothing_changes(
    server: TinyServer, tmp_path: Path, name: str, door: Callable[[TinyServer, Path], str]
) -> None:
    before = standing(server)
    found = door(server, BROKEN[name].make(tmp_path))
    assert re.search(BROKEN[name].reason, found), found
    assert standing(server) == before


def test_the_reasons_differ() -> None:
    reasons = [broken.reason for broken in BROKEN.values()]
    assert len(set(reasons)) >= len(reasons) - 2  # two kinds of truncation, two of values


def test_a_sound_peft_folder_gets_in_over_the_api(server: TinyServer, tmp_path: Path) -> None:
    """Else the refusals above could come from anything."""
    made = server.post("/api/adapters", {"brand": "birch", "path": str(peft()(tmp_path))})
    assert made["name"].startswith("birch@")
    assert made["card"]["imported_from"] == "PEFT"
    assert made["is_active"] is False
