"""Which voices share batches, on the fake backend: whoever shares one, each answer is the voice's own."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from config.settings import EngineSettings
from server.engine.backend import Span
from server.engine.core import EngineCore
from server.engine.fake import DEFAULT_SHAPE, FakeBackend, expected_answer, fake_vocabulary
from server.engine.messages import AdapterRef, GenerateRequest
from server.engine.mixing import BatchRows, Range
from tests.server.engine.bench import Bench

BRANDS = [AdapterRef(f"brand {number}", Path("unread.gguf"), f"{number:x}") for number in (3, 7, 12)]
PROMPTS = ["What is the hotel limit?", "How many days of leave?", "Who pays?", "Where is the office?"]


def make_bench(settings: EngineSettings, backend: FakeBackend | None = None, mode: str = "on") -> Bench:
    bench = Bench(settings.model_copy(update={"mix_brands": mode}), DEFAULT_SHAPE)
    if backend is not None:
        bench.backend = backend
        changed = settings.model_copy(update={"mix_brands": mode})
        bench.core = EngineCore(backend, fake_vocabulary(), changed, bench.events.append)
    return bench


def ask_all(bench: Bench, name: str = "") -> list[GenerateRequest]:
    """One request of each brand and one of the base, at the same time."""
    requests = [
        GenerateRequest(f"{name}{number}", tuple(prompt.encode()), 12, voice_boundary=number * 4, adapter=adapter)
        for number, (prompt, adapter) in enumerate(zip(PROMPTS, [*BRANDS, None], strict=True))
    ]
    for request in requests:
        bench.core.submit(request)
    bench.run()
    return requests


def assert_own_answers(bench: Bench, requests: list[GenerateRequest]) -> None:
    for request in requests:
        voice = int(request.adapter.sha256, 16) if request.adapter else 0
        answer = expected_answer(request.tokens, voice, request.voice_boundary, request.max_tokens)
        bench.finished(request.request_id)
        assert bench.text(request.request_id) == answer.decode()


def num_voices(batch: list[Span]) -> int:
    return len({span.adapter for span in batch})


def most_voices(bench: Bench, begin: int = 0) -> int:
    """In one batch, those of trials left out."""
    spare = set(bench.backend.spare_sequences)
    batches = [batch for batch in bench.backend.batches[begin:] if batch[0].sequence not in spare]
    return max(num_voices(batch) for batch in batches)


def test_brands_share_batches_and_keep_their_voices(settings: EngineSettings) -> None:
    bench = make_bench(settings)
    assert_own_answers(bench, ask_all(bench))
    status = bench.core.status().mixing
    assert status.is_on
    assert status.note == ""
    assert status.num_batches > 5
    assert most_voices(bench) >= 3
    num_steps = bench.core.status().num_steps
    in_turns = make_bench(settings, mode="off")
    assert_own_answers(in_turns, ask_all(in_turns))
    assert in_turns.core.status().num_steps > num_steps


def test_brands_take_turns_where_the_settings_say_so(settings: EngineSettings) -> None:
    bench = make_bench(settings, mode="off")
    assert_own_answers(bench, ask_all(bench))
    assert most_voices(bench) == 1
    assert bench.core.status().mixing.note == 'engine.mix_brands = "off"'


def test_brands_take_turns_where_the_library_cannot_mix(settings: EngineSettings) -> None:
    backend = FakeBackend()
    backend.mix_problem = "the llama.cpp library has no function ggml_init"
    bench = make_bench(settings, backend)
    assert_own_answers(bench, ask_all(bench))
    assert most_voices(bench) == 1
    status = bench.core.status().mixing
    assert not status.is_on
    assert status.note == backend.mix_problem


def test_an_adapter_whose_voice_leaks_takes_turns_and_the_others_do_not(settings: EngineSettings) -> None:
    backend = FakeBackend()
    backend.leaking_voice = 7
    bench = make_bench(settings, backend)
    assert_own_answers(bench, ask_all(bench))
    shared = [batch for batch in backend.batches if num_voices(batch) > 1 and batch[0].sequence < 8]
    assert shared
    assert not any(span.adapter == "7" for batch in shared for span in batch)
    assert bench.core.status().mixing.is_on


def test_where_the_first_adapter_leaks_doctor_hears_why(settings: EngineSettings) -> None:
    backend = FakeBackend()
    backend.leaking_voice = 3
    bench = make_bench(settings, backend)
    bench.core.submit(GenerateRequest("1", tuple(b"abc"), 4, adapter=BRANDS[0]))
    bench.run()
    assert not bench.core.status().mixing.is_on
    assert "other numbers" in bench.core.status().mixing.note


class SlowMix(FakeBackend):
    """Computes for long where voices are mixed."""

    def decode(self, spans: list[Span]) -> None:
        if num_voices(spans) > 1:
            end = time.process_time() + 0.02
            while time.process_time() < end:
                pass
        super().decode(spans)


@pytest.mark.parametrize(("mode", "is_on"), [("auto", False), ("on", True)])
def test_slow_mixing_is_left_alone_unless_it_is_asked_for(settings: EngineSettings, mode: str, is_on: bool) -> None:
    bench = make_bench(settings, SlowMix(), mode)
    assert_own_answers(bench, ask_all(bench))
    status = bench.core.status().mixing
    assert status.is_on is is_on
    assert status.together_seconds > status.apart_seconds > 0
    assert bool(status.note) is not is_on


def test_a_library_that_fails_later_sends_brands_back_to_turns(settings: EngineSettings) -> None:
    bench = make_bench(settings)
    ask_all(bench, "first ")
    bench.backend.mix_problem = "the graph lies outside of memory"
    begin = len(bench.backend.batches)
    assert_own_answers(bench, ask_all(bench, "second "))
    assert most_voices(bench, begin) == 1
    assert bench.core.status().mixing.note == bench.backend.mix_problem


def test_without_free_cells_the_trial_waits(settings: EngineSettings) -> None:
    bench = Bench(settings.model_copy(update={"mix_brands": "on"}), replace(DEFAULT_SHAPE, num_cells=40))
    prompt = next(p for p in (bytes([n] * 22) for n in range(97, 123)) if len(expected_answer(p, 0, 22, 12)) == 12)
    full = GenerateRequest("full", tuple(prompt), 12)
    bench.core.submit(full)
    while bench.core.status().num_cells_used < 24:
        assert bench.core.step()
    late = GenerateRequest("late", tuple(b"abcd"), 2, adapter=BRANDS[0])
    bench.core.submit(late)
    bench.core.step()
    assert bench.core.status().num_running == 2
    assert not bench.core.status().mixing.is_on
    bench.run()
    assert_own_answers(bench, [full, late])
    assert_own_answers(bench, ask_all(bench))
    assert bench.core.status().mixing.is_on


def test_rows_are_counted_among_tokens_and_among_outputs() -> None:
    outputs = np.array([0, 0, 1, 1, 0, 1, 0, 0], np.int8)
    rows = BatchRows.of([None, "A", "A", "B"], [3, 1, 2, 2], outputs)
    assert (rows.num_tokens, rows.num_outputs) == (8, 3)
    assert rows.tokens == {"A": Range(3, 3), "B": Range(6, 2)}
    assert rows.outputs == {"A": Range(1, 2), "B": Range(3, 0)}
    assert rows.of_node(8, "A") == Range(3, 3)
    assert rows.of_node(3, "A") == Range(1, 2)
    assert rows.of_node(8, "C").count == 0
