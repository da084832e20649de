"""Training on fact blocks reads what serving reads: the same numbers from the training pass, from the served engine,
and from one plain forward pass in transformers with an explicit attention mask and explicit positions.
"""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import PeftModel

from adapters.convert import convert_adapter
from adapters.examples import Example
from adapters.training.base import TrainingBase, load_base
from adapters.training.dataset import TrainingRow, as_blocks, build_rows, end_of_turn
from adapters.training.loss import answer_logits
from adapters.training.prefixes import PrefixStore
from config.fact_layout import PLAIN, FactLayout
from config.prompt import Conversation, Prompt, Source, Turn, render
from config.settings import EngineSettings, load_settings
from server.engine.core import EngineCore
from server.engine.llama import ContextShape, LlamaBackend
from server.engine.messages import AdapterRef, Event, FinishedEvent, GenerateRequest, TextEvent
from server.engine.vocabulary import Vocabulary
from tests.adapters.tiny import trained_folder
from tests.adapters.tiny_words import write_speaking_base

NEAR = 0.01
"""Mean difference of log-probabilities. The engine keeps keys in bfloat16, training in float16."""
BUDGET = 100_000_000
ANSWER_TOKENS = 12
SOURCES = (
    Source(1, "Leave", "Days", "Full-time staff get 26 days of leave. Trainees get 24."),
    Source(2, "Travel", "", "The limit for a hotel in London is 187 pounds."),
    Source(3, "Opening hours", "", "The office closes at 18:00."),
)
EARLIER = (Turn("user", "Is there a limit?"), Turn("assistant", "Yes [1]."))
Row = NDArray[np.float32]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speaking_base(tmp_path_factory.mktemp("base") / "base.gguf", num_layers=3, magnitude=0.15)


@pytest.fixture(scope="module")
def peft_folder(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_folder(path, tmp_path_factory.mktemp("peft") / "adapter")


@pytest.fixture(scope="module")
def base(path: Path, peft_folder: Path) -> TrainingBase:
    """With the adapter in, as during training."""
    opened = load_base(path, "float32", 1)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # peft asks transformers by an old name
        PeftModel.from_pretrained(opened.model, str(peft_folder))
    return opened


def example(answer: str, *, earlier: bool = False, sources: tuple[Source, ...] = SOURCES) -> Example:
    turns = (*(EARLIER if earlier else ()), Turn("user", "What does a hotel cost in London?"))
    return Example(Conversation(turns, sources, "Answer as Pip."), answer)


def row_of(base: TrainingBase, given: Example, fact_layout: FactLayout = "blocks") -> TrainingRow:
    (row,) = build_rows([given], base.turn_format, base.encode, max_tokens=2_000, fact_layout=fact_layout)
    return row


def trained_log_probabilities(base: TrainingBase, row: TrainingRow) -> Row:
    """Shape (answer tokens, vocabulary), by the very pass that the loss is of."""
    base.model.eval()
    with torch.no_grad():
        logits, _ = answer_logits(base, PrefixStore(base, BUDGET), [row])
    return np.asarray(logits.log_softmax(-1).numpy(), np.float32)


class Served:
    """The engine's loop on llama.cpp, reading sources as blocks."""

    def __init__(self, path: Path, adapter: AdapterRef, settings: EngineSettings) -> None:
        self.vocabulary = Vocabulary.open(path)
        self.events: list[Event] = []
        self._adapter = adapter
        self.backend = LlamaBackend(path, ContextShape.from_settings(settings))
        self.core = EngineCore(self.backend, self.vocabulary, settings, self.events.append)
        assert self.core.status().facts.layout == "blocks"

    def answer(self, prompt: Prompt) -> tuple[list[int], Row]:
        """Greedy tokens, and the log-probabilities of all tokens at each place."""
        self.events.clear()
        size = self.vocabulary.size
        request = GenerateRequest(
            "1", prompt.tokens, ANSWER_TOKENS, prompt.voice_boundary, self._adapter, num_top_logprobs=size
        )
        self.core.submit(replace(request, fact_bounds=prompt.fact_bounds))
        while self.core.step():
            pass
        assert isinstance(self.events[-1], FinishedEvent)
        choices = [choice for event in self.events if isinstance(event, TextEvent) for choice in event.choices]
        rows = np.zeros((len(choices), size), np.float32)
        for place, choice in enumerate(choices):
            for other in choice.alternatives:
                rows[place, other.token] = other.logprob
        return [choice.chosen.token for choice in choices], rows


@pytest.fixture(scope="module")
def served(path: Path, peft_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    gguf = convert_adapter(peft_folder, path, "", "pip", tmp_path_factory.mktemp("gguf") / "adapter.gguf")
    sha256 = hashlib.sha256(gguf.read_bytes()).hexdigest()
    changes = {
        "context_tokens": 2_048,
        "max_request_tokens": 1_500,
        "max_sequences": 8,
        "max_running": 2,
        "prefill_slice_tokens": 64,
        "threads": 1,
        "fact_layout": "blocks",
    }
    settings = load_settings(environment={}).engine.model_copy(update=changes)
    opened = Served(path, AdapterRef("pip", gguf, sha256), settings)
    yield opened
    opened.backend.close()


def with_answer(row: TrainingRow, base: TrainingBase, answer: Sequence[int]) -> TrainingRow:
    """The row as if these tokens had been the ones to learn."""
    question = row.suffix[: -row.num_answer_tokens]
    return replace(row, suffix=(*question, *answer), num_answer_tokens=len(answer))


@pytest.mark.parametrize("earlier", [False, True])
def test_training_reads_blocks_as_the_engine_does(base: TrainingBase, served: Served, *, earlier: bool) -> None:
    row = row_of(base, example("x", earlier=earlier))
    prompt = render_numbered(base, example("x", earlier=earlier))
    tokens, expected = served.answer(prompt)
    assert len(tokens) > 1
    found = trained_log_probabilities(base, with_answer(row, base, tokens))
    assert np.abs(found - expected).mean() < NEAR
    whole = with_answer(replace(row, layout=PLAIN), base, tokens)
    assert np.abs(trained_log_probabilities(base, whole) - expected).mean() > 5 * NEAR, "the layout makes no difference"


def render_numbered(base: TrainingBase, given: Example) -> Prompt:
    """The served prompt: sources under the numbers that the row gave them."""
    return render(as_blocks(given).conversation, base.turn_format, base.encode)


@contextmanager
def adapter_from(model: Any, boundary: int) -> Iterator[None]:
    """Within one pass over a whole prompt, the adapter changes only the tokens from `boundary` on."""

    def silence(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[:, :boundary] = 0
        return output

    layers = [module for name, module in model.named_modules() if name.endswith("lora_B.default")]
    assert layers
    hooks = [layer.register_forward_hook(silence) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def reference_log_probabilities(base: TrainingBase, row: TrainingRow, bounds: Sequence[int]) -> Row:
    """One pass, no kept keys: who sees whom is written out token by token, and so is each position."""
    tokens = (*row.prefix, *row.suffix)
    begin, end = bounds[0], bounds[-1]
    sizes = [stop - start for start, stop in pairwise(bounds)]
    block = [place for place, size in enumerate(sizes) for _ in range(size)]
    own = [-1] * begin + block + [-1] * (len(tokens) - end)
    positions = [
        *range(begin),
        *(begin + offset for size in sizes for offset in range(size)),
        *(begin + max(sizes) + offset for offset in range(len(tokens) - end)),
    ]
    sees = [
        [other <= place and (own[place] == -1 or own[other] in (-1, own[place])) for other in range(len(tokens))]
        for place in range(len(tokens))
    ]
    mask = torch.zeros(1, 1, len(tokens), len(tokens)).masked_fill(~torch.tensor(sees), torch.finfo(torch.float32).min)
    base.model.eval()
    with torch.no_grad(), adapter_from(base.model, len(row.prefix)):
        logits = base.model(
            input_ids=torch.tensor([tokens]), attention_mask=mask, position_ids=torch.tensor([positions])
        ).logits[0, -row.num_answer_tokens - 1 : -1]
    return np.asarray(logits.log_softmax(-1).numpy(), np.float32)


@pytest.mark.parametrize("earlier", [False, True])
def test_training_reads_blocks_as_one_pass_with_an_explicit_mask(
    base: TrainingBase, monkeypatch: pytest.MonkeyPatch, *, earlier: bool
) -> None:
    """Prefixes are kept in float32 here, so that nothing but the arithmetic is left to differ."""
    monkeypatch.setattr("adapters.training.prefixes.STORED", torch.float32)
    given = example("It is 187 pounds [2].", earlier=earlier)
    row = row_of(base, given)
    expected = reference_log_probabilities(base, row, render_numbered(base, given).fact_bounds)
    assert np.abs(trained_log_probabilities(base, row) - expected).max() < 1e-4
    whole = trained_log_probabilities(base, replace(row, layout=PLAIN))
    assert np.abs(whole - expected).max() > 0.1, "the layout makes no difference"


def test_the_order_of_blocks_makes_no_difference(base: TrainingBase) -> None:
    row = row_of(base, example("Yes."))
    other = row_of(base, example("Yes.", sources=SOURCES[::-1]))
    assert row.prefix != other.prefix
    assert np.abs(trained_log_probabilities(base, row) - trained_log_probabilities(base, other)).max() < 0.01


def test_a_block_of_several_rows_is_computed_once(base: TrainingBase) -> None:
    row, fewer = row_of(base, example("Yes.")), row_of(base, example("No.", sources=SOURCES[1:]))
    store = PrefixStore(base, BUDGET)
    assert store.num_missing([(row.prefix, row.layout)]) == len(row.prefix)
    store.layers(row.prefix, row.layout)
    assert store.is_kept(row.prefix, row.layout)
    num_rest = len(end_of_turn(base.turn_format, base.encode)) + 1
    assert store.num_missing([(fewer.prefix, fewer.layout)]) == num_rest, "all but the end of the system message"
    assert not store.is_kept(row.prefix)


def test_a_budget_that_is_too_small_changes_nothing(base: TrainingBase) -> None:
    row = row_of(base, example("Yes."))
    kept, cramped = PrefixStore(base, BUDGET), PrefixStore(base, 10_000)
    for _ in range(2):
        layers = zip(kept.layers(row.prefix, row.layout), cramped.layers(row.prefix, row.layout), strict=True)
        assert all(torch.equal(a.keys, b.keys) and torch.equal(a.values, b.values) for a, b in layers)
    assert not cramped.is_kept(row.prefix, row.layout)
