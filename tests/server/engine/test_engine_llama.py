"""The loop on real models: whatever runs beside a request, its answer equals the one it gives alone."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from config.settings import EngineSettings
from server.engine.backend import Span
from server.engine.llama import ContextShape, LlamaBackend
from server.engine.messages import (
    AdapterRef,
    FailedEvent,
    FailureKind,
    GenerateRequest,
    Sampling,
    TextEvent,
)
from tests.server.engine.llama_model import LlamaModel, assert_equal_answers
from tests.server.engine.lora_files import write_lora


class Model(LlamaModel):
    """A core on llama.cpp with what tests ask of it."""

    def ask(self, request_id: str, text: str, max_tokens: int = 24, **changes: object) -> GenerateRequest:
        tokens = tuple(self.vocabulary.encode(text, is_template=True, is_start=True))
        return replace(GenerateRequest(request_id, tokens, max_tokens, num_top_logprobs=2), **changes)  # type: ignore[arg-type]

    def text(self, request_id: str) -> str:
        events = [event for event in self.events if isinstance(event, TextEvent)]
        return "".join(event.text for event in events if event.request_id == request_id)


@pytest.fixture
def larger(settings: EngineSettings) -> EngineSettings:
    return settings.model_copy(
        update={
            "context_tokens": 2_048,
            "max_request_tokens": 400,
            "max_sequences": 24,
            "max_queued": 64,
            "max_running": 8,
            "prefill_slice_tokens": 32,
            "threads": 1,
        }
    )


@pytest.fixture
def stories(stories_path: Path, larger: EngineSettings) -> Iterator[Model]:
    model = Model(stories_path, larger)
    yield model
    model.backend.close()


@pytest.fixture
def base(base_path: Path, larger: EngineSettings) -> Iterator[Model]:
    model = Model(base_path, larger.model_copy(update={"threads": 0}))
    yield model
    model.backend.close()


@pytest.fixture
def brands(tmp_path: Path, stories_path: Path) -> list[AdapterRef | None]:
    return [
        write_lora(tmp_path / "a.gguf", stories_path, seed=1),
        write_lora(tmp_path / "b.gguf", stories_path, seed=2),
        None,
    ]


def test_the_known_continuation(stories: Model) -> None:
    stories.run(stories.ask("1", "<s>Once upon a time", 16))
    assert stories.text("1").startswith(", there was a little girl named Lily.")


def test_many_at_once_equal_one_by_one(stories: Model) -> None:
    texts = ["Once upon a time", "Once upon a day, a dog", "The cat", "Tom and Sam " * 12, "One day", "A big red ball"]
    requests = [stories.ask(str(number), text, 40) for number, text in enumerate(texts)]
    references = [stories.cold(request) for request in requests]
    for reference, answer in zip(references, stories.run(*requests), strict=True):
        assert_equal_answers(reference, answer)


def test_a_reused_prefix_gives_the_cold_answer(stories: Model) -> None:
    request = stories.ask("warm", "Once upon a time there was a big dog named Max. He liked to", 30)
    reference = stories.cold(request)
    stories.run(stories.ask("first", "Once upon a time there was a big dog named Max. He ran", 10))
    (answer,) = stories.run(request)
    assert_equal_answers(reference, answer)
    assert stories.finished("warm").num_cached_tokens > 10


def test_brands_interleaved_equal_their_own_cold_answers(stories: Model, brands: list[AdapterRef | None]) -> None:
    """R6, P5: 200 requests over two brands and the base with the same prompt."""
    text = "<s>Once upon a time there was a little cat. She said"
    kinds = [
        stories.ask("", text, 8, adapter=adapter, voice_boundary=boundary)
        for adapter in brands
        for boundary in ((0, 6) if adapter else (0,))
    ]
    references = [stories.cold(kind) for kind in kinds]
    distinct = {tuple(choice.chosen.token for choice in reference) for reference in references}
    assert len(distinct) >= 3, "the adapters must change the answer, or this test proves nothing"
    order = np.random.default_rng(3).integers(0, len(kinds), 200)
    for begin in range(0, 200, 40):
        chosen = [replace(kinds[kind], request_id=f"{begin} {n}") for n, kind in enumerate(order[begin : begin + 40])]
        for kind, answer in zip(order[begin : begin + 40], stories.run(*chosen), strict=True):
            assert_equal_answers(references[kind], answer)
    assert stories.core.status().num_cached_tokens > 0
    assert stories.core.status().loaded_adapters == ("a", "b")


def test_a_changed_or_broken_adapter_fails_its_request_only(stories: Model, tmp_path: Path, stories_path: Path) -> None:
    adapter = write_lora(tmp_path / "c.gguf", stories_path, seed=3)
    adapter.path.write_bytes(adapter.path.read_bytes()[:-64])
    stories.core.submit(stories.ask("bad", "Once", adapter=adapter))
    while stories.core.step():
        pass
    (failure,) = stories.events
    assert isinstance(failure, FailedEvent)
    assert failure.kind == FailureKind.BAD_ADAPTER
    assert "changed on disk" in failure.message
    stories.events.clear()
    stories.run(stories.ask("good", "Once", 5))
    assert stories.finished("good").num_answer_tokens == 5


def test_seeds_repeat_and_differ(stories: Model) -> None:
    def draw(request_id: str, seed: int) -> str:
        stories.run(
            stories.ask(request_id, "Once upon a time", sampling=Sampling(temperature=1.0, top_p=0.95, seed=seed))
        )
        return stories.text(request_id)

    assert draw("1", 11) == draw("2", 11) != draw("3", 12)


def test_stop_strings(stories: Model) -> None:
    stories.run(stories.ask("1", "<s>Once upon a time", 40, stop=("girl named",)))
    assert stories.text("1") == ", there was a little "


def test_log_probabilities_of_greedy_tokens_are_the_best(stories: Model) -> None:
    (choices,) = stories.run(stories.ask("1", "Once upon a time", 10))
    assert all(choice.chosen == choice.alternatives[0] for choice in choices)
    assert all(choice.alternatives[1].logprob <= choice.chosen.logprob <= 0 for choice in choices)


def test_cells_are_given_back_after_cancelling(stories: Model) -> None:
    stories.core.submit(stories.ask("1", "Once upon a time " * 8, 200))
    for _ in range(6):
        stories.core.step()
    stories.core.cancel("1")
    stories.core.check_integrity()
    stories.core.drop_prefixes(None)
    stories.core.check_integrity()
    assert stories.core.status().num_cells_used == 0


@pytest.mark.model
def test_the_default_base_answers_alone_and_in_company(base: Model) -> None:
    questions = ["What is the capital of France?", "Name three colours.", "What is 2 + 2?", "Who wrote Hamlet?"]
    requests = [
        base.ask(str(n), f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n", 24)
        for n, text in enumerate(questions)
    ]
    references = [base.cold(request) for request in requests]
    for reference, answer in zip(references, base.run(*requests), strict=True):
        assert_equal_answers(reference, answer)
    assert "Paris" in base.text("0")


@pytest.mark.model
def test_the_base_gives_the_same_numbers_however_it_is_batched(base_path: Path) -> None:
    """Regression: logits moved by up to 1.1, because the attention kernel changed with the number of rows."""
    backend = LlamaBackend(base_path, ContextShape(256, 3, 128, 3))
    prompt, other = tuple(range(1_000, 1_096)), tuple(range(2_000, 2_020))
    backend.decode([Span(0, 0, prompt, wants_logits=True)])
    whole = backend.logits(0).copy()
    backend.decode([Span(1, 0, other, wants_logits=False)])
    for start in range(0, 96, 32):
        backend.decode([Span(2, start, prompt[start : start + 32], wants_logits=True)])
    assert np.abs(backend.logits(0) - whole).max() < 1e-3
    backend.close()


@pytest.mark.model
def test_the_number_of_threads_changes_no_bit(base_path: Path) -> None:
    backend = LlamaBackend(base_path, ContextShape(256, 3, 128, 3, num_threads=2))
    prompt = tuple(range(1_000, 1_096))
    found = []
    for sequence, count in enumerate((2, 1)):
        backend.set_threads(count)
        assert backend.num_threads == count
        backend.decode([Span(sequence, 0, prompt, wants_logits=True)])
        backend.decode([Span(sequence, 96, (7,), wants_logits=True)])
        found.append(backend.logits(0).copy())
    assert np.array_equal(found[0], found[1])
    backend.close()


@pytest.mark.model
def test_the_default_base_writes_json(base: Model) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
    text = "<|im_start|>user\nCapital of France as JSON?<|im_end|>\n<|im_start|>assistant\n"
    base.run(base.ask("1", text, 40, json_schema=json.dumps({**schema, "additionalProperties": False})))
    assert list(json.loads(base.text("1"))) == ["city"]
