"""Fact blocks on real models: what was restored gives the numbers of what was computed, in any order, for any voice."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

from config.errors import EngineError
from config.settings import EngineSettings
from server.engine.backend import Logits, Span
from server.engine.fact_check import find_block_problem
from server.engine.llama import ContextShape, LlamaBackend
from server.engine.messages import (
    AdapterRef,
    FactStatus,
    GenerateRequest,
    Scope,
    TokenChoice,
)
from server.engine.storage import EngineStorage
from tests.server.engine.llama_model import LlamaModel, assert_equal_answers
from tests.server.engine.lora_files import write_lora

PREFIX = "<s>Once upon a time there were some friends. "
DOG, CAT, BIRD = (
    "Max was a big dog. He had a red ball and liked to run in the park. ",
    "Lily had a little cat. The cat was sad because it lost its hat. ",
    "A small bird sat in a tall tree and sang all day. ",
)
QUESTION = "One day, "


@pytest.fixture
def settings(settings: EngineSettings) -> EngineSettings:
    changes = {
        "context_tokens": 1_024,
        "max_request_tokens": 400,
        "max_sequences": 12,
        "max_running": 4,
        "prefill_slice_tokens": 32,
        "threads": 1,
        "fact_layout": "blocks",
    }
    return settings.model_copy(update=changes)


class Model(LlamaModel):
    """Asked about blocks, each a source of its own."""

    @property
    def facts(self) -> FactStatus:
        return self.core.status().facts

    def ask(self, request_id: str, *blocks: str, adapter: AdapterRef | None = None, scope: str = "") -> GenerateRequest:
        prefix, question = (self.vocabulary.encode(text, is_template=True) for text in (PREFIX, QUESTION))
        parts = [self.vocabulary.encode(block, is_template=False) for block in blocks]
        bounds = tuple(accumulate((len(part) for part in parts), initial=len(prefix)))
        tokens = (*prefix, *(token for part in parts for token in part), *question)
        scopes = (Scope(bounds[0], scope),) if scope else ()
        return GenerateRequest(
            request_id, tokens, 24, bounds[-1], adapter, scopes, fact_bounds=bounds, num_top_logprobs=2
        )

    def num_cached(self, request_id: str) -> int:
        return self.finished(request_id).num_cached_tokens


def tokens_of(answer: list[TokenChoice]) -> list[int]:
    return [choice.chosen.token for choice in answer]


@pytest.fixture
def open_model(stories_path: Path, settings: EngineSettings) -> Iterator[Callable[..., Model]]:
    models = []

    def open_one(storage: EngineStorage | None = None, **changes: object) -> Model:
        models.append(Model(stories_path, settings.model_copy(update=changes), storage))
        return models[-1]

    yield open_one
    for model in models:
        model.backend.close()


OpenModel = Callable[..., Model]


def test_the_self_test_passes_and_leaves_the_context_empty(open_model: OpenModel) -> None:
    model = open_model()
    assert (model.facts.layout, model.facts.note) == ("blocks", "")
    assert find_block_problem(model.backend) == ""
    model.core.check_integrity()


def test_the_self_test_notices_cells_that_come_back_otherwise(stories_path: Path, settings: EngineSettings) -> None:
    class Shifted(LlamaBackend):
        """A library whose saved form has changed: values come back in other rows."""

        def restore(self, sequence: int, saved: bytes, start: int, num_tokens: int) -> None:
            super().restore(sequence, saved[:-512] + saved[-256:] + saved[-512:-256], start, num_tokens)

    backend = Shifted(stories_path, ContextShape.from_settings(settings))
    assert "not those that were saved" in find_block_problem(backend)
    backend.close()


def test_restored_cells_give_the_very_numbers_of_computed_ones(stories_path: Path, settings: EngineSettings) -> None:
    backend = LlamaBackend(stories_path, ContextShape.from_settings(settings))
    prefix, block, question = tuple(range(10, 30)), tuple(range(50, 110)), tuple(range(200, 205))

    def ask() -> Logits:
        backend.share(1, 2)
        backend.decode([Span(2, 80, question, wants_logits=True)])
        return backend.logits(0).copy()

    for start in range(0, 20, 10):
        backend.decode([Span(0, start, prefix[start : start + 10], wants_logits=False)])
    backend.copy_prefix(0, 1, 20)
    backend.decode([Span(1, 20, block[:30], wants_logits=False)])
    backend.decode([Span(1, 50, block[30:], wants_logits=False)])
    backend.forget_prefix(1, 20)
    backend.copy_prefix(0, 2, 20)
    computed, saved = ask(), backend.save(1)
    for sequence in (1, 2):
        backend.truncate(sequence, 0)
    backend.restore(1, saved, 20, 60)
    backend.copy_prefix(0, 2, 20)
    assert np.abs(ask() - computed).max() < 1e-4
    assert backend.length(1) == 80
    backend.close()


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:100], lambda b: b"", lambda b: b"\0" * len(b)])
def test_a_damaged_blob_is_an_error_and_leaves_nothing_behind(
    stories_path: Path, settings: EngineSettings, damage: Callable[[bytes], bytes]
) -> None:
    backend = LlamaBackend(stories_path, ContextShape.from_settings(settings))
    backend.decode([Span(0, 0, tuple(range(10, 30)), wants_logits=False)])
    saved = backend.save(0)
    with pytest.raises(EngineError):
        backend.restore(1, damage(saved), 0, 20)
    backend.truncate(1, 0)
    assert (backend.length(0), backend.length(1)) == (20, 0)
    backend.restore(1, saved, 0, 20)
    with pytest.raises(EngineError, match="came back as"):
        backend.restore(2, saved, 5, 20)
    backend.close()


def test_any_order_gives_the_cold_answer_and_computes_nothing_again(open_model: OpenModel) -> None:
    model = open_model()
    reference = model.cold(model.ask("x", DOG, CAT, BIRD))
    model.run(model.ask("first", DOG, CAT, BIRD))
    for number, order in enumerate(((BIRD, DOG, CAT), (CAT, BIRD, DOG))):
        request = model.ask(str(number), *order)
        (answer,) = model.run(request)
        assert_equal_answers(reference, answer)
        assert model.num_cached(request.request_id) == request.fact_bounds[-1]
    assert model.facts.num_misses == 6, "three for the cold answer, three for the first"


def test_blocks_are_seen_and_are_not_the_prompt_in_one_piece(open_model: OpenModel) -> None:
    model = open_model()
    answers = [model.cold(model.ask(str(n), *blocks)) for n, blocks in enumerate(((DOG,), (CAT,), (DOG, CAT)))]
    whole = model.cold(replace(model.ask("whole", DOG, CAT), fact_bounds=()))
    assert len({tuple(tokens_of(answer)) for answer in (*answers, whole)}) == 4


def test_another_brand_reuses_the_blocks_and_gives_its_own_cold_answer(
    open_model: OpenModel, tmp_path: Path, stories_path: Path
) -> None:
    model = open_model()
    one, other = (write_lora(tmp_path / f"{seed}.gguf", stories_path, seed=seed) for seed in (1, 2))
    references = [model.cold(model.ask("x", DOG, CAT, adapter=brand)) for brand in (one, other, None)]
    assert len({tuple(tokens_of(reference)) for reference in references}) == 3
    num_misses = model.facts.num_misses
    requests = [model.ask(str(n), CAT, DOG, adapter=brand) for n, brand in enumerate((one, other, None))]
    for reference, request in zip(references, requests, strict=True):
        (answer,) = model.run(request)
        assert_equal_answers(reference, answer)
    assert model.facts.num_misses == num_misses + 2


def test_many_at_once_equal_one_by_one(open_model: OpenModel, tmp_path: Path, stories_path: Path) -> None:
    model = open_model()
    brand = write_lora(tmp_path / "a.gguf", stories_path, seed=1)
    choices = [(DOG, CAT), (CAT, BIRD, DOG), (BIRD,), (DOG, BIRD), (CAT,)]
    requests = [model.ask(str(n), *blocks, adapter=(None, brand)[n % 2]) for n, blocks in enumerate(choices * 2)]
    references = [model.cold(request) for request in requests]
    model.core.drop_prefixes(None)
    for reference, answer in zip(references, model.run(*requests), strict=True):
        assert_equal_answers(reference, answer)


def test_a_restart_takes_blocks_from_disk_and_damaged_ones_are_computed_again(
    open_model: OpenModel, tmp_path: Path
) -> None:
    storage = EngineStorage(tmp_path / "facts", "ba5e")
    first = open_model(storage)
    (reference,) = first.run(first.ask("1", DOG, CAT))
    damaged = sorted(storage.facts.iterdir())[0]
    second = open_model(storage)
    damaged.write_bytes(damaged.read_bytes()[:-8] + b"\xff" * 8)
    (answer,) = second.run(second.ask("2", CAT, DOG))
    assert_equal_answers(reference, answer)
    facts = second.facts
    assert (facts.num_disk_hits, facts.num_misses, facts.num_damaged, facts.num_disk_blocks) == (1, 1, 1, 2)


def test_deleted_facts_leave_context_memory_and_disk(open_model: OpenModel, tmp_path: Path) -> None:
    storage = EngineStorage(tmp_path / "facts", "ba5e")
    model = open_model(storage)
    model.run(model.ask("1", DOG, CAT))
    assert model.facts.num_memory_bytes > 0
    model.core.drop_prefixes(None)
    model.core.check_integrity()
    assert (model.facts.num_memory_bytes, model.facts.num_disk_bytes) == (0, 0)
    assert list(storage.facts.iterdir()) == []
    model.run(model.ask("2", DOG))
    assert model.num_cached("2") == 0


def test_memory_stays_within_its_budget_and_answers_stay_right(open_model: OpenModel) -> None:
    model = open_model(fact_memory_bytes=30_000, max_sequences=8)
    blocks = [f"{DOG}{word} " for word in ("One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight")]
    references = [model.cold(model.ask("x", block)) for block in blocks]
    for number in range(16):
        (answer,) = model.run(model.ask(str(number), blocks[number % 8]))
        assert_equal_answers(references[number % 8], answer)
        assert model.facts.num_memory_bytes <= 30_000


def test_another_readers_block_is_no_hit(open_model: OpenModel) -> None:
    model = open_model()
    model.run(model.ask("hr", DOG, scope="groups:hr"))
    model.run(model.ask("open", DOG))
    num_prefix = model.ask("x", DOG).fact_bounds[0]
    assert model.num_cached("open") == num_prefix
    model.run(model.ask("hr 2", DOG, CAT, scope="groups:hr"))
    assert model.num_cached("hr 2") == num_prefix + model.ask("x", DOG).fact_bounds[1] - num_prefix


@pytest.mark.model
def test_the_default_base_passes_the_self_test(base_path: Path, settings: EngineSettings) -> None:
    backend = LlamaBackend(base_path, ContextShape.from_settings(settings))
    assert find_block_problem(backend) == ""
    backend.close()
