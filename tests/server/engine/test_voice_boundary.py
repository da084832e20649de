"""One voice boundary for all: PEFT's own activated LoRA, our training, and the engine, alone and in a mixed batch.

PEFT's convention: the adapter is on from the first of the invocation tokens. Ours: from the index `voice_boundary`. The
test puts the one where the other is and compares logits token by token; a boundary one token earlier or later is told
apart, so a convention that is off by one shows.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import PeftModel

from adapters.convert import convert_adapter
from adapters.registry import file_sha256
from adapters.training.dataset import TrainingRow
from adapters.training.loss import answer_logits
from adapters.training.prefixes import PrefixStore
from server.engine.backend import Span
from server.engine.llama import ContextShape, LlamaBackend
from server.engine.messages import AdapterRef
from tests.adapters.letters import NUM_TOKENS
from tests.adapters.tiny import open_in_transformers, trained_folder, training_base, write_base
from tests.server.engine.lora_files import write_lora

Rows = NDArray[np.float32]
"""Shape (tokens, vocabulary): logits after each token from just before the boundary on."""

BOUNDARY, LENGTH = 20, 30
INVOCATION = [NUM_TOKENS - 1, NUM_TOKENS - 2]
"""Two tokens that occur once in the prompt, at the boundary."""
CHANCE = np.random.default_rng(7)
PROMPT = [*CHANCE.integers(0, NUM_TOKENS - 2, BOUNDARY).tolist(), *INVOCATION]
PROMPT += CHANCE.integers(0, NUM_TOKENS - 2, LENGTH - len(PROMPT)).tolist()
BUDGET = 10_000_000
NEAR = 0.02
"""Keys in bfloat16 and weights in half precision on the engine's side."""

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "base.gguf")


@pytest.fixture(scope="module")
def folder(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_folder(base, tmp_path_factory.mktemp("run") / "peft")


@pytest.fixture(scope="module")
def by_peft(base: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """PEFT's activated LoRA over the whole prompt in one pass; nothing of ours takes part."""
    activated = tmp_path_factory.mktemp("alora") / "peft"
    shutil.copytree(folder, activated)
    config = json.loads((activated / "adapter_config.json").read_text())
    config["alora_invocation_tokens"] = INVOCATION
    (activated / "adapter_config.json").write_text(json.dumps(config))
    model = PeftModel.from_pretrained(open_in_transformers(base), str(activated)).eval()
    with torch.no_grad():
        logits: Rows = model(input_ids=torch.tensor([PROMPT])).logits[0, BOUNDARY - 1 :].numpy()
    return logits


def in_training(base: Path, folder: Path, boundary: int) -> Rows:
    """Of a row whose prefix ends at the boundary: after each token of the suffix but the last."""
    opened = training_base(base)
    model = PeftModel.from_pretrained(opened.model, str(folder)).eval()
    row = TrainingRow(tuple(PROMPT[:boundary]), tuple(PROMPT[boundary:]), LENGTH - boundary - 1)
    with torch.no_grad():
        logits, _ = answer_logits(opened, PrefixStore(opened, BUDGET), [row])
    del model
    return logits.numpy()


def in_engine(base: Path, adapter: AdapterRef, boundary: int, other: AdapterRef | None = None) -> Rows:
    """Token by token behind the boundary; with `other` in the same batches, which is on elsewhere."""
    backend = LlamaBackend(base, ContextShape(256, 4, 64, 4, 1, may_mix=True))
    for loaded in (adapter, other):
        if loaded is not None:
            backend.load_adapter(loaded)
            backend.decode([Span(2, 0, (1,), wants_logits=True, adapter=loaded.sha256)])
            backend.truncate(2, 0)
    backend.decode([Span(0, 0, tuple(PROMPT[:boundary]), wants_logits=True)])
    rows = [backend.logits(0).copy()] if boundary == BOUNDARY else []
    for position in range(boundary, LENGTH):
        spans = [Span(0, position, (PROMPT[position],), wants_logits=True, adapter=adapter.sha256)]
        if other is not None:
            beside = position - boundary
            spans.append(Span(1, beside, (PROMPT[beside],), wants_logits=False, adapter=other.sha256))
        backend.decode(spans)
        if position >= BOUNDARY:
            rows.append(backend.logits(0).copy())
    backend.close()
    return np.stack(rows)


def converted(base: Path, folder: Path, out: Path) -> AdapterRef:
    path = convert_adapter(folder, base, file_sha256(base), "activated", out / "voice.gguf", "activated")
    return AdapterRef("voice", path, file_sha256(path))


def test_the_engine_switches_where_peft_does(base: Path, folder: Path, by_peft: Rows, tmp_path: Path) -> None:
    adapter = converted(base, folder, tmp_path)
    difference = np.abs(in_engine(base, adapter, BOUNDARY) - by_peft)
    assert difference.max() < NEAR
    for wrong in (BOUNDARY - 1, BOUNDARY + 1):
        assert np.abs(in_engine(base, adapter, wrong)[-9:] - by_peft[-9:]).max() > 5 * NEAR


def test_in_a_mixed_batch_too(base: Path, folder: Path, by_peft: Rows, tmp_path: Path) -> None:
    adapter = converted(base, folder, tmp_path)
    other = write_lora(tmp_path / "other.gguf", base, seed=5)
    assert np.abs(in_engine(base, adapter, BOUNDARY, other) - by_peft).max() < NEAR


def test_training_switches_where_peft_does(base: Path, folder: Path, by_peft: Rows) -> None:
    difference = np.abs(in_training(base, folder, BOUNDARY) - by_peft[1:-1])
    assert difference.max() < 1e-3
    for wrong in (BOUNDARY - 1, BOUNDARY + 1):
        assert np.abs(in_training(base, folder, wrong)[-8:] - by_peft[-9:-1]).max() > 5e-3
