"""One model: start all systems, bring in documents and adapters, then rounds of steps until the time is over."""

import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bench import native_bench
from benchmarks.bench.load import Reply, send_all
from benchmarks.bench.peers import Peers
from benchmarks.bench.pool import make_chunks, sentences_of
from benchmarks.bench.processes import StolenTime, stop
from benchmarks.bench.prompts import Prompter
from benchmarks.bench.samples import Sample
from benchmarks.bench.shapes import AdapterShape, random_adapters
from benchmarks.bench.systems import (
    HOUSEVOICE,
    KNOWLEDGE_BASE,
    Housevoice,
    System,
    brand_name,
    brands_in,
    example_server,
    housevoice,
    llama_server,
    settings_for,
)
from benchmarks.bench.workloads import ENGINE_WORKLOADS, SINGLE, WARM, WARM_UP, Sizes, Step, Systems, Workloads
from config.models import ModelFile
from config.settings import SAMPLE
from server.engine.vocabulary import Vocabulary
from server.lifecycle import turn_format_of

CHUNK_TOKENS = 190
"""Of a chunk's bare text: with its markers it has about 220, and the embedder still reads all of it."""
API_SECONDS = 600
SPIN = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured on each model. settings: of housevoice, as HOUSEVOICE_<SECTION>_<KEY>."""

    sizes: Sizes
    rounds: int
    seconds: float
    seed: int
    layout: str
    adapter: AdapterShape
    settings: Mapping[str, str]
    has_example: bool = True
    only: tuple[str, ...] = ENGINE_WORKLOADS


def measure(base: ModelFile, plan: Plan, peers: Peers, cache: Path) -> tuple[list[Sample], dict[str, Any]]:
    """The samples of one model, and housevoice's own state at the end. What the time does not allow is left out."""
    vocabulary = Vocabulary.open(base.path)
    invocation = vocabulary.encode(turn_format_of(vocabulary).user_open, is_template=True)
    shape, count = plan.adapter, plan.sizes.num_brands
    adapters = random_adapters(cache, base.path, base.sha256, invocation, count, shape)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        needed = settings_for(base.path, brands_in(folder, count))
        settings = {**needed, "HOUSEVOICE_ENGINE_FACT_LAYOUT": plan.layout, **plan.settings}
        ours = stack.enter_context(housevoice(folder, vocabulary.end_tokens, settings))
        llama = stack.enter_context(llama_server(folder, peers, base.path, adapters))
        plain = stack.enter_context(llama_server(folder, peers, base.path))
        example = stack.enter_context(example_server(folder, peers, base.path)) if plan.has_example else None
        paths = _bring_in(ours, folder, plan, vocabulary, adapters)
        layout = get(ours, "/api/status")["engine"]["facts"]["layout"]
        prompter = Prompter(ours, vocabulary, turn_format_of(vocabulary), layout)
        systems = Systems(ours, llama, plain, example)
        workloads = Workloads(prompter, systems, plan.sizes, paths, plan.seed)
        samples = list(_rounds(base, plan, workloads, peers))
        return samples, get(ours, "/api/status")


def get(server: Housevoice, path: str) -> Any:
    return httpx.get(server.url + path, headers=server.headers, timeout=API_SECONDS, trust_env=False).json()


def _bring_in(
    server: Housevoice, folder: Path, plan: Plan, vocabulary: Vocabulary, adapters: Sequence[Path]
) -> list[str]:
    """Documents and adapters, over the API as a user would. Returns the documents' paths in their order."""
    sizes, documents = plan.sizes, folder / "documents"
    documents.mkdir()
    total = sizes.pool + sizes.num_cold * plan.rounds
    chunks = make_chunks(sentences_of(SAMPLE / "documents"), total, CHUNK_TOKENS, vocabulary.count)
    for chunk in chunks:
        (documents / chunk.path).write_text(chunk.text + "\n", encoding="utf-8")
    _post(server, "/api/ingest", {"path": str(documents), "knowledge_base": KNOWLEDGE_BASE})
    card = {"made_by": "benchmarks.bench: random weights", "fact_layout": plan.layout}
    for number, path in enumerate(adapters):
        _post(server, "/api/adapters", {"brand": brand_name(number), "path": str(path), "card": card, "activate": True})
    return [chunk.path for chunk in chunks]


def _post(server: Housevoice, path: str, body: Mapping[str, Any]) -> None:
    demand_success(
        httpx.post(server.url + path, json=body, headers=server.headers, timeout=API_SECONDS, trust_env=False)
    )


def demand_success(response: httpx.Response) -> httpx.Response:
    """The response itself. Raises SystemExit with the end of it where it is an error, or reports one at its end."""
    if response.is_error or response.text.strip().rpartition("\n")[2].startswith('{"error"'):
        raise SystemExit(f"{response.request.url.path} failed: {response.text[-1000:]}")
    return response


def _rounds(base: ModelFile, plan: Plan, workloads: Workloads, peers: Peers) -> Iterator[Sample]:
    """Steps of one round after the other; the systems take each step in another random order."""
    chance, turn = random.Random(plan.seed), 0
    if WARM in plan.only:
        for step in workloads.warm_ups():
            list(_take(step, base, 0, 0, chance))
        print(f"{base.name}: warmed up", flush=True)
    ends_at = time.monotonic() + plan.seconds
    for number in range(plan.rounds):
        for step in workloads.steps(number, plan.only):
            if time.monotonic() > ends_at:
                return
            turn += 1
            yield from _take(step, base, number, turn, chance)
            if step.workload == SINGLE:
                yield native_bench.decode_rate(peers, base, number, plan.sizes.answer_tokens)
        print(f"{base.name}: round {number + 1} of {plan.rounds}", flush=True)


def _take(step: Step, base: ModelFile, number: int, turn: int, chance: random.Random) -> Iterator[Sample]:
    for system in chance.sample(step.systems, len(step.systems)):
        with _busy_core() if step.is_beside_busy else ExitStack():
            sample = _ask(step, system, base, number, turn)
        if step.workload != WARM_UP:
            print(f"  {step.workload} {step.case} {step.size} {system.name}: {sample.first_seconds:.3f} s", flush=True)
            yield sample


def _ask(step: Step, system: System, base: ModelFile, number: int, turn: int) -> Sample:
    load, stolen = os.getloadavg()[0], StolenTime()
    begin = time.perf_counter()
    replies = asyncio.run(send_all([system.call(ask) for ask in step.asks], system.read))
    seconds, stolen_share = time.perf_counter() - begin, stolen.share()
    if system.name == HOUSEVOICE:
        _check_prompts(step, replies)
    gaps = [gap for reply in replies for gap in reply.gaps]
    return Sample(
        model=base.name,
        workload=step.workload,
        case=step.case,
        size=step.size,
        system=system.name,
        round=number,
        turn=turn,
        first_seconds=statistics.median(reply.first_seconds for reply in replies),
        seconds=seconds if len(replies) > 1 else replies[0].seconds,
        num_prompt=sum(len(ask.tokens) for ask in step.asks),
        num_cached=sum(reply.num_cached for reply in replies),
        num_tokens=sum(reply.num_tokens for reply in replies),
        gap_seconds=statistics.median(gaps) if gaps else 0.0,
        load_average=load,
        stolen_share=stolen_share,
        answers=tuple(reply.text for reply in replies),
    )


def _check_prompts(step: Step, replies: Sequence[Reply]) -> None:
    """The peers are given what housevoice reads, or the comparison says nothing."""
    for ask, reply in zip(step.asks, replies, strict=True):
        if (reply.num_prompt, reply.numbers) != (len(ask.tokens), ask.numbers):
            raise SystemExit(
                f"housevoice read {reply.num_prompt} tokens with sources {reply.numbers} for {ask.question!r}; the"
                f" peers were given {len(ask.tokens)} with {ask.numbers}. benchmarks/bench/prompts.py no longer renders"
                " what is served."
            )


@contextmanager
def _busy_core() -> Iterator[None]:
    """A process that computes on one core all the time and is nobody's friend."""
    core = max(os.sched_getaffinity(0))
    process = subprocess.Popen([sys.executable, "-c", SPIN, str(core)])
    try:
        time.sleep(0.5)
        yield
    finally:
        stop(process)
