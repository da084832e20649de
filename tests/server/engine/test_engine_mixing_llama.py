"""Brands in one batch on real models: each answer is, to the last bit, the one that it is alone."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from config.errors import EngineError
from config.settings import EngineSettings
from server.engine import mixing, tensors
from server.engine.backend import Span
from server.engine.messages import AdapterRef, GenerateRequest
from server.engine.tensors import open_graph
from tests.server.engine.llama_model import LlamaModel
from tests.server.engine.lora_files import ALL_LINEAR, write_lora

STORY = "<s>Once upon a time there was a little cat. She said"
LONG = "Tom and Sam went to the park. They saw a big red ball and a small dog. " * 5


class Model(LlamaModel):
    """Asked in the voice of an adapter, from a boundary on."""

    def ask(self, request_id: str, text: str, adapter: AdapterRef | None, boundary: int, num: int) -> GenerateRequest:
        tokens = tuple(self.vocabulary.encode(text, is_template=True, is_start=True))
        return GenerateRequest(request_id, tokens, num, boundary, adapter, num_top_logprobs=2)

    @property
    def num_mixed(self) -> int:
        return self.core.status().mixing.num_batches


@pytest.fixture
def settings(settings: EngineSettings) -> EngineSettings:
    changes = {
        "context_tokens": 4_096,
        "max_request_tokens": 1_000,
        "max_sequences": 24,
        "max_running": 8,
        "max_queued": 64,
        "prefill_slice_tokens": 32,
        "threads": 1,
        "mix_brands": "on",
    }
    return settings.model_copy(update=changes)


@pytest.fixture
def stories(stories_path: Path, settings: EngineSettings) -> Iterator[Model]:
    model = Model(stories_path, settings)
    yield model
    model.backend.close()


@pytest.fixture
def brands(tmp_path: Path, stories_path: Path) -> list[AdapterRef]:
    """Two of every kind: of some layers and of all, of different ranks."""
    return [
        write_lora(tmp_path / "a.gguf", stories_path, seed=1),
        write_lora(tmp_path / "b.gguf", stories_path, seed=2, changed=ALL_LINEAR, magnitude=0.2),
        write_lora(tmp_path / "c.gguf", stories_path, seed=3, changed=ALL_LINEAR, magnitude=0.2, rank=16),
        write_lora(tmp_path / "d.gguf", stories_path, seed=4, changed=("ffn_down.weight",)),
    ]


def test_four_brands_and_the_base_together_say_what_each_says_alone(stories: Model, brands: list[AdapterRef]) -> None:
    """Plain adapters, which are on from the first token, and activated ones, which are on from the boundary."""
    kinds = [(adapter, boundary) for boundary, adapter in zip((0, 6, 9, 0, 0), [*brands, None], strict=True)]
    requests = [stories.ask(str(n), STORY, adapter, start, 24) for n, (adapter, start) in enumerate(kinds)]
    expected = [stories.cold(request) for request in requests]
    assert len({tuple(choice.chosen.token for choice in answer) for answer in expected}) == 5
    num_before = stories.num_mixed
    assert stories.run(*requests) == expected
    assert stories.num_mixed - num_before > 20
    assert stories.core.status().mixing.is_on


def test_a_long_prompt_of_one_brand_is_read_beside_the_answers_of_others(
    stories: Model, brands: list[AdapterRef]
) -> None:
    requests = [
        stories.ask("stream", STORY, brands[0], 0, 60),
        stories.ask("other stream", STORY, brands[1], 6, 60),
        stories.ask("long", LONG + "One day", brands[2], 0, 20),
        stories.ask("half long", LONG + "One day", brands[1], 90, 20),
    ]
    expected = [stories.cold(request) for request in requests]
    assert stories.run(*requests) == expected
    assert stories.num_mixed > 0


def test_a_batch_of_more_than_512_tokens_is_computed_in_one_go(
    stories_path: Path, settings: EngineSettings, brands: list[AdapterRef]
) -> None:
    changes = {"prefill_slice_tokens": 1_200, "max_request_tokens": 500}
    model = Model(stories_path, settings.model_copy(update=changes))
    requests = [
        model.ask("one", LONG * 2, brands[0], 0, 12),
        model.ask("two", "A dog. " + LONG * 2, brands[1], 0, 12),
        model.ask("three", "A cat. " + LONG * 2, None, 0, 12),
    ]
    assert sum(len(request.tokens) for request in requests) > 600
    expected = [model.cold(request) for request in requests]
    assert model.run(*requests) == expected
    assert model.num_mixed >= 12
    model.backend.close()


def test_batches_that_are_too_large_are_left_to_turns(
    stories_path: Path, settings: EngineSettings, brands: list[AdapterRef]
) -> None:
    model = Model(stories_path, settings.model_copy(update={"prefill_slice_tokens": 2_048}))
    assert "in one go" in model.core.status().mixing.note
    answers = model.run(*(model.ask(str(n), STORY, adapter, 0, 4) for n, adapter in enumerate(brands)))
    assert [len(answer) for answer in answers] == [4, 4, 4, 4]
    assert model.num_mixed == 0
    model.backend.close()


def test_an_adapter_that_is_freed_and_loaded_again_disturbs_nobody(stories: Model, brands: list[AdapterRef]) -> None:
    first, second, third = (stories.ask(f"{n}", STORY, brands[n], 6, 40) for n in range(3))
    expected = [stories.cold(request) for request in (first, second, third)]
    stories.events.clear()
    for request in (first, second):
        stories.core.submit(request)
    for _ in range(10):
        stories.core.step()
    stories.backend.free_adapter(brands[2].sha256)
    for _ in range(5):
        stories.core.step()
    stories.backend.load_adapter(brands[2])
    spans = [Span(sequence, 0, (5,), True, adapter=brands[2 * n].sha256) for n, sequence in enumerate((20, 21))]
    with pytest.raises(EngineError, match="not known"):  # its tensors may lie elsewhere now
        stories.backend.decode(spans)
    for sequence in (20, 21):
        stories.backend.truncate(sequence, 0)
    while stories.core.step():
        pass
    assert [stories.choices(request.request_id) for request in (first, second)] == expected[:2]
    stories.core._mixer.forget(brands[2].sha256)  # what the core does itself where it is the one that frees
    assert stories.run(first, third, second) == [expected[0], expected[2], expected[1]]


def test_the_same_graph_serves_other_mixtures(stories: Model, brands: list[AdapterRef]) -> None:
    """llama.cpp uses a graph again where sizes are equal: rows of the mixture before must not stay in it."""
    backend, one, two = stories.backend, brands[0].sha256, brands[1].sha256
    for adapter in brands[:2]:
        stories.run(stories.ask(adapter.name, STORY, adapter, 0, 1))
    stories.core.drop_prefixes(None)
    mixtures: list[list[str | None]] = [
        [one, two, two],
        [one, one, two],
        [None, one, two],
        [one, one, one],
        [two, None, one],
    ]
    voices: list[str | None] = [None, one, two]
    expected = {}
    for voice in voices:
        backend.decode([Span(0, 0, (7, 9, 11), True, adapter=voice)])
        expected[voice] = backend.logits(0).copy()
        backend.truncate(0, 0)
    for mixture in mixtures:
        backend.decode([Span(number, 0, (7, 9, 11), True, adapter=voice) for number, voice in enumerate(mixture)])
        for number, voice in enumerate(mixture):
            assert np.array_equal(backend.logits(number), expected[voice])
        for number in range(3):
            backend.truncate(number, 0)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("GET_SCHEDULER", "_ZNK13llama_context9get_nothingEv", "no function"),
        ("OBJECT_BYTES", 40, "size of a tensor"),
        ("F32", 1, "type in the llama.cpp library|in the llama.cpp library"),
    ],
)
def test_another_library_is_noticed_and_brands_take_turns(
    monkeypatch: pytest.MonkeyPatch,
    stories_path: Path,
    settings: EngineSettings,
    brands: list[AdapterRef],
    name: str,
    value: object,
    reason: str,
) -> None:
    monkeypatch.setattr(tensors, name, value)
    with pytest.raises(EngineError, match=reason):
        open_graph()
    model = Model(stories_path, settings)
    assert model.core.status().mixing.note == model.backend.mix_problem != ""
    requests = [model.ask(str(n), STORY, adapter, 0, 8) for n, adapter in enumerate(brands)]
    expected = [model.cold(request) for request in requests]
    assert model.run(*requests) == expected
    assert model.num_mixed == 0
    model.backend.close()


def test_a_graph_that_looks_otherwise_is_noticed_by_the_trial(
    monkeypatch: pytest.MonkeyPatch, stories_path: Path, settings: EngineSettings, brands: list[AdapterRef]
) -> None:
    """As from a release that adds adapters by other operations. Nothing of it is rewired."""
    graph = open_graph()
    monkeypatch.setattr(mixing, "open_graph", lambda: replace(graph, scale=graph.acc))
    model = Model(stories_path, settings)
    requests = [model.ask(str(n), STORY, adapter, 0, 8) for n, adapter in enumerate(brands)]
    expected = [model.cold(request) for request in requests]
    assert model.run(*requests) == expected
    assert not model.core.status().mixing.is_on
    assert "other operations" in model.core.status().mixing.note
    model.backend.close()


@pytest.mark.model
def test_the_default_base_with_two_brands(base_path: Path, settings: EngineSettings, tmp_path: Path) -> None:
    model = Model(base_path, settings)
    brands = [
        write_lora(tmp_path / f"{seed}.gguf", base_path, seed=seed, changed=ALL_LINEAR, magnitude=0.05, rank=16)
        for seed in (1, 2)
    ]
    text = "<|im_start|>user\nName three colours.<|im_end|>\n<|im_start|>assistant\n"
    kinds = [(brands[0], 0), (brands[1], 8), (None, 0)]
    requests = [model.ask(str(n), text, adapter, boundary, 12) for n, (adapter, boundary) in enumerate(kinds)]
    expected = [model.cold(request) for request in requests]
    assert model.run(*requests) == expected
    assert model.core.status().mixing.is_on
    assert model.num_mixed > 10
    model.backend.close()
