"""Drafts on real models: what several rows of one sequence give is what one row after the other gives."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from config.settings import EngineSettings
from server.engine.backend import Span
from server.engine.client import EngineClient
from server.engine.llama import ContextShape, LlamaBackend
from server.engine.messages import (
    AdapterRef,
    FailedEvent,
    FinishedEvent,
    GenerateRequest,
    Sampling,
    TokenChoice,
)
from server.engine.steptime import StepTable
from server.engine.steptrial import find_table, measure
from server.engine.storage import EngineStorage
from server.engine.vocabulary import Vocabulary
from tests.server.engine.llama_model import LlamaModel, assert_equal_answers
from tests.server.engine.lora_files import write_lora

FREE_ROWS = StepTable(((1, 1.0), (64, 1.01)))
"""Whatever has any chance is drafted."""
STORY = (
    "Once upon a time there was a little girl named Lily. She had a red ball. Lily liked to play with her red ball in "
    "the park. One day, Lily saw a big dog. The dog liked the red ball too. Once upon a time there was a little girl"
)


class Model(LlamaModel):
    """With drafts where a table is given."""

    def ask(self, request_id: str, text: str, max_tokens: int = 60, **changes: object) -> GenerateRequest:
        tokens = tuple(self.vocabulary.encode(text, is_template=True, is_start=True))
        return replace(GenerateRequest(request_id, tokens, max_tokens, num_top_logprobs=2), **changes)  # type: ignore[arg-type]

    def run(self, *requests: GenerateRequest) -> list[list[TokenChoice]]:
        """All of them together, with nothing cached; each one's tokens with their log-probabilities."""
        self.core.drop_prefixes(None)
        self.events.clear()
        for request in requests:
            self.core.submit(request)
        while self.core.step():
            self.core.check_integrity()
        self.core.check_integrity()
        assert not [event for event in self.events if isinstance(event, FailedEvent)]
        return [self.choices(request.request_id) for request in requests]

    @property
    def num_accepted(self) -> int:
        return self.core.status().drafts.num_accepted


@pytest.fixture
def roomy(settings: EngineSettings) -> EngineSettings:
    changes = {"context_tokens": 2_048, "max_request_tokens": 500, "max_running": 6, "max_sequences": 16, "threads": 1}
    return settings.model_copy(update=changes | {"prefill_slice_tokens": 64})


@pytest.fixture
def plain(stories_path: Path, roomy: EngineSettings) -> Iterator[Model]:
    model = Model(stories_path, roomy)
    yield model
    model.backend.close()


@pytest.fixture
def drafting(stories_path: Path, roomy: EngineSettings) -> Iterator[Model]:
    model = Model(stories_path, roomy, table=FREE_ROWS)
    yield model
    model.backend.close()


@pytest.mark.parametrize("sampling", [Sampling(), *(Sampling(temperature=0.8, top_p=0.95, seed=n) for n in range(4))])
def test_an_answer_is_the_same_to_the_bit_with_drafts_and_without(
    plain: Model, drafting: Model, sampling: Sampling
) -> None:
    """Tokens and log-probabilities, greedy and drawn."""
    (reference,) = plain.run(plain.ask("1", STORY, 120, sampling=sampling))
    (answer,) = drafting.run(drafting.ask("1", STORY, 120, sampling=sampling))
    assert answer == reference
    assert drafting.num_accepted > 0
    assert drafting.core.status().num_steps < plain.core.status().num_steps


def test_brands_and_the_base_together_give_the_answers_without_drafts(
    plain: Model, drafting: Model, stories_path: Path, tmp_path: Path
) -> None:
    brands = [write_lora(tmp_path / f"{seed}.gguf", stories_path, seed=seed) for seed in (1, 2)]
    voices: list[AdapterRef | None] = [*brands, None] * 2

    def ask(model: Model) -> list[GenerateRequest]:
        return [
            model.ask(str(n), STORY[: 200 - n], 50, adapter=voice, voice_boundary=20) for n, voice in enumerate(voices)
        ]

    references = [plain.run(request)[0] for request in ask(plain)]
    for reference, answer in zip(references, drafting.run(*ask(drafting)), strict=True):
        assert_equal_answers(reference, answer)
    assert drafting.num_accepted > 0


def test_step_times_of_a_real_model_are_measured_and_kept(
    stories_path: Path, roomy: EngineSettings, tmp_path: Path
) -> None:
    backend = LlamaBackend(stories_path, ContextShape.from_settings(roomy))
    trial = measure(backend, num_threads=1, budget_seconds=0.5)
    assert trial.table.points[0][0] == 1
    assert [backend.length(sequence) for sequence in range(16)] == [0] * 16
    table = find_table(backend, tmp_path / "steptimes.json", backend.machine, num_threads=0)
    assert find_table(backend, tmp_path / "steptimes.json", backend.machine, num_threads=0) == table
    backend.close()


@pytest.mark.model
def test_the_default_base_quotes_a_source_in_fewer_steps(base_path: Path, roomy: EngineSettings) -> None:
    """Greedy, to the bit; the answer repeats the source word for word."""
    source = "Parcels above twenty kilograms are collected by the depot on Monday, Wednesday and Friday before noon."
    text = f"<|im_start|>user\nRepeat this sentence: {source}<|im_end|>\n<|im_start|>assistant\n"
    models = [Model(base_path, roomy.model_copy(update={"threads": 0}), table=table) for table in (None, FREE_ROWS)]
    reference, answer = (model.run(model.ask("1", text, 32))[0] for model in models)
    steps = [model.core.status().num_steps for model in models]
    assert answer == reference
    assert models[1].num_accepted > 0
    assert steps[1] < steps[0]
    for model in models:
        model.backend.close()


def test_the_logits_of_several_rows_are_those_of_one_after_the_other(stories_path: Path) -> None:
    backend = LlamaBackend(stories_path, ContextShape(128, 3, 64, 3, num_threads=1))
    prompt, tokens = tuple(range(10, 30)), (50, 60, 70)
    for sequence in range(2):
        backend.decode([Span(sequence, 0, prompt, wants_logits=False)])
    single = []
    for position, token in enumerate(tokens, len(prompt)):
        backend.decode([Span(0, position, (token,), wants_logits=True)])
        single.append(backend.logits(0).copy())
    other = Span(2, 0, (5,), wants_logits=True)
    backend.decode([other, Span(1, len(prompt), tokens, wants_logits=True, num_drafts=2)])
    several = [backend.logits(1, row).copy() for row in range(3)]
    backend.close()
    assert np.array_equal(np.stack(several), np.stack(single))


async def test_the_engine_process_measures_its_steps_and_drafts(
    stories_path: Path, roomy: EngineSettings, tmp_path: Path
) -> None:
    storage = EngineStorage(tmp_path / "factcache", "ba5e", tmp_path / "steptimes.json")
    engine = EngineClient(stories_path, roomy, storage)
    await engine.start()
    tokens = tuple(Vocabulary.open(stories_path).encode(STORY, is_template=True, is_start=True))
    events = [event async for event in engine.generate(GenerateRequest("1", tokens, 40))]
    status = engine.status()
    await engine.stop()
    assert isinstance(events[-1], FinishedEvent)
    assert [rows for rows, _ in status.step_seconds][:3] == [1, 2, 3]
    assert status.drafts.is_on != bool(status.drafts.note)
