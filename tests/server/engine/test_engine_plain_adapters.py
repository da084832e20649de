"""A plain adapter has the whole prompt under it, an activated one what follows the boundary: token by token as PEFT."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel

from adapters.convert import convert_adapter
from adapters.registry import file_sha256
from adapters.training.recipe import Lora
from adapters.training.reference import last_logits
from config.settings import EngineSettings
from server.engine.core import EngineCore
from server.engine.llama import ContextShape, LlamaBackend
from server.engine.messages import AdapterRef, Event, GenerateRequest, TextEvent
from tests.adapters.letters import NUM_TOKENS
from tests.adapters.tiny import open_in_transformers, trained_folder, write_base

NUM_NEW = 12
CHANCE = np.random.default_rng(5)
PROMPT = tuple(CHANCE.integers(0, NUM_TOKENS, 40).tolist())
BOUNDARY = 30
NEAR = 0.1
"""Where the reference's two best logits lie closer, rounding decides."""


class Numbers:
    """Pieces of a vocabulary without words: every token is a letter, and none ends an answer."""

    size = NUM_TOKENS
    end_tokens: frozenset[int] = frozenset()

    def piece(self, token: int) -> bytes:
        return b"x"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers by an old name
def test_engine_and_peft_say_the_same_token_by_token(tmp_path: Path, settings: EngineSettings) -> None:
    base = write_base(tmp_path / "base.gguf")
    peft = trained_folder(base, tmp_path / "peft")
    backend = LlamaBackend(base, ContextShape.from_settings(settings))
    events: list[Event] = []
    core = EngineCore(backend, Numbers(), settings, events.append)
    model = PeftModel.from_pretrained(open_in_transformers(base), str(peft)).eval()
    said: dict[str, list[int]] = {}
    kinds: tuple[Lora, ...] = ("plain", "activated", "plain")  # again: nothing of the other is reused
    for number, lora in enumerate(kinds):
        path = convert_adapter(peft, base, file_sha256(base), lora, tmp_path / f"{lora}.gguf", lora)
        boundary = 0 if lora == "plain" else BOUNDARY
        request = GenerateRequest(str(number), PROMPT, NUM_NEW, boundary, num_top_logprobs=1)
        core.submit(replace(request, adapter=AdapterRef(lora, path, file_sha256(path))))
        while core.step():
            pass
        core.check_integrity()
        said[str(number)] = tokens_of(events, str(number))
        assert_follows(model, said[str(number)], boundary)
    backend.close()
    assert said["0"] == said["2"]
    assert said["0"] != said["1"]


def tokens_of(events: list[Event], request_id: str) -> list[int]:
    texts = [event for event in events if isinstance(event, TextEvent) and event.request_id == request_id]
    return [choice.chosen.token for event in texts for choice in event.choices]


def assert_follows(model: object, said: list[int], boundary: int) -> None:
    """Each token is PEFT's best after those before it."""
    assert len(said) == NUM_NEW
    for place, token in enumerate(said):
        with torch.no_grad():
            logits = last_logits(model, (*PROMPT, *said[:place]), boundary, torch.device("cpu"))
        assert logits[token] >= logits.max() - NEAR, f"token {place}"
