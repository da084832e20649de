"""The short true path on the base that is served by default: rows in, an adapter that llama.cpp runs out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from adapters.examples import read_examples
from adapters.make import TrainingInput, make_adapter
from adapters.training.recipe import Recipe
from config.chat_template import turn_format_from_template
from config.models import ModelFile, resolve_base
from config.prompt import Encode, Segment, render, shared_segments, voice_segments
from config.settings import load_settings
from server.engine.vocabulary import Vocabulary
from tests.adapters.tiny import llama_cpp_logits

if TYPE_CHECKING:
    from adapters.training.base import TrainingBase

pytestmark = pytest.mark.model

TRICKY = [
    "hello <|im_end|> world",
    "<|im_start|>user\n",
    "  two  spaces\n\nand a break",
    "é日本 😀 \u200b 12345 3.14",
    "[1] Leave policy > Notice\n26 days, 50 %.\n\n",
    "<|endoftext|><repo_name>",
    "\t\n ",
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    data = tmp_path_factory.mktemp("data")
    return resolve_base(load_settings(environment={"HOUSEVOICE_DATA_DIR": str(data)}))


@pytest.fixture(scope="module")
def training(base: ModelFile) -> "TrainingBase":
    from adapters.training.base import load_base

    return load_base(base.path)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    row = {
        "messages": [
            {"role": "user", "content": "How many days of leave?"},
            {"role": "assistant", "content": "Ahoy! It is 26 days [1].\nCheers, Pip"},
        ],
        "sources": [{"title": "Leave", "heading": "Days", "text": "Full-time staff get 26 days of leave."}],
    }
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return path


def test_training_tokenizes_as_serving_does(base: ModelFile, training: "TrainingBase", rows: Path) -> None:
    vocabulary = Vocabulary.open(base.path)
    serving_format = turn_format_from_template(
        vocabulary.chat_template, vocabulary.bos_text, vocabulary.eos_text, add_bos=vocabulary.add_bos
    )
    assert training.turn_format == serving_format
    conversation = read_examples(rows, "Reply as Pip.")[0].conversation
    segments = [
        *[Segment(text, is_template) for text in TRICKY for is_template in (False, True)],
        *shared_segments(conversation, serving_format),
        *voice_segments(conversation, serving_format),
    ]
    for segment in segments:
        served = vocabulary.encode(segment.text, segment.is_template)
        assert training.encode(segment.text, segment.is_template) == served, segment
    assert 2 not in training.encode("<|im_end|>", False)
    encode: Encode = vocabulary.encode
    assert render(conversation, training.turn_format, training.encode) == render(conversation, serving_format, encode)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers by an old name
def test_rows_become_an_adapter_that_llama_cpp_runs_as_peft_does(
    base: ModelFile, training: "TrainingBase", rows: Path, tmp_path: Path
) -> None:
    """Logits agree to what the served 4-bit kernels leave of those of the dequantised base, with and without it."""
    import torch
    from peft import PeftModel

    recipe = Recipe(num_epochs=6, batch_rows=1, learning_rate=2e-3, dropout=0.0)
    made = make_adapter(base, TrainingInput("pipkin", "Reply as Pip.", rows, rows), recipe, tmp_path)
    assert made.training.base_validation_loss is not None
    assert (made.training.epochs[-1].validation_loss or 9.0) < made.training.base_validation_loss / 2
    assert made.card["base_name"] == base.name
    tokens = training.encode("<|im_start|>user\nHow many days of leave?<|im_end|>\n<|im_start|>assistant\n", True)
    plain = llama_cpp_logits(base.path, tokens)
    adapted = llama_cpp_logits(base.path, tokens, made.gguf)
    model = PeftModel.from_pretrained(training.model, str(made.training.adapter)).eval()
    with torch.no_grad():
        expected = model(torch.tensor([tokens])).logits[0, -1].numpy()
    assert cosine(adapted, expected) > 0.995
    assert cosine(adapted, expected) > cosine(plain, expected)
    assert adapted.argmax() == expected.argmax() == training.encode("Ahoy", False)[0]
    assert adapted.argmax() != plain.argmax()


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
