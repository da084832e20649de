"""Brands in one batch against brands in turns: requests over 1, 2 and 4 brands.

    python -m benchmarks.mixed_brands [--brands 1 2 4] [--requests 16] [--tokens 200] [--rounds 5] [--save]

Two engine processes with the same base, one that mixes and one that takes turns, are asked alternately; the ratio is of
the medians. The adapters are random, of rank 16 on all linear layers, and written for the run. Answers are compared:
both ways must say the same tokens.
"""

import argparse
import asyncio
import hashlib
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from benchmarks.answers import compare, tally
from benchmarks.conditions import RESULTS, conditions
from benchmarks.engine_streams import FACTS, Round, together, tokens_of
from config.gguf_header import read_header
from config.models import resolve_base
from config.settings import EngineSettings, load_settings
from server.engine.client import EngineClient
from server.engine.messages import AdapterRef, GenerateRequest, MixStatus
from server.engine.vocabulary import Vocabulary

RANK = 16
LINEAR = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
MAGNITUDE = 0.02
WAYS = ("off", "on")


@dataclass(frozen=True)
class Comparison:
    """Rounds over so many brands, by the value of engine.mix_brands."""

    num_brands: int
    rounds: dict[str, list[Round]]

    def rate(self, way: str) -> float:
        return statistics.median(each.tokens_per_second for each in self.rounds[way])

    def first_token(self, way: str) -> float:
        return statistics.median(answer.first_token_seconds for each in self.rounds[way] for answer in each.answers)

    @property
    def row(self) -> str:
        verdicts = [
            compare(tokens_of(expected), tokens_of(found))
            for turns, mixed in zip(self.rounds["off"], self.rounds["on"], strict=True)
            for expected, found in zip(turns.answers, mixed.answers, strict=True)
        ]
        turns, mixed = self.rate("off"), self.rate("on")
        waits = f"{self.first_token('off'):.2f} | {self.first_token('on'):.2f}"
        return (
            f"| {self.num_brands} | {turns:.1f} | {mixed:.1f} | **{mixed / turns:.2f}** | {waits} | {tally(verdicts)} |"
        )


def write_adapter(path: Path, base: Path, seed: int) -> AdapterRef:
    header, chance = read_header(base), np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, header.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 2.0 * RANK)
    for tensor in header.tensors.values():
        if tensor.name.startswith("blk.") and tensor.name.split(".")[2] in LINEAR and tensor.name.endswith(".weight"):
            num_in, num_out = tensor.shape
            first = chance.standard_normal((RANK, num_in)) / np.sqrt(num_in)
            second = chance.standard_normal((num_out, RANK)) * MAGNITUDE
            writer.add_tensor(f"{tensor.name}.lora_a", first.astype(np.float16))
            writer.add_tensor(f"{tensor.name}.lora_b", second.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return AdapterRef(path.stem, path, hashlib.sha256(path.read_bytes()).hexdigest())


def make_requests(
    vocabulary: Vocabulary, brands: Sequence[AdapterRef], count: int, tokens: int
) -> list[GenerateRequest]:
    """Facts stand before the voice boundary, as in serving, and each request has a question of its own."""
    facts = vocabulary.encode(f"<|im_start|>system\n{FACTS}<|im_end|>\n", is_template=True)
    requests = []
    for number in range(count):
        question = f"<|im_start|>user\nTell me a story about {number + 2} parcels.<|im_end|>\n<|im_start|>assistant\n"
        prompt = tuple(facts + vocabulary.encode(question, is_template=True))
        brand = brands[number % len(brands)]
        requests.append(GenerateRequest(str(number), prompt, tokens, len(facts), brand, num_top_logprobs=2))
    return requests


async def measure(arguments: argparse.Namespace, folder: Path) -> str:
    settings = load_settings()
    base = resolve_base(settings)
    vocabulary = Vocabulary.open(base.path)
    adapters = [write_adapter(folder / f"{n}.gguf", base.path, n) for n in range(max(arguments.brands))]
    engines = {way: EngineClient(base.path, _changed(settings.engine, way)) for way in WAYS}
    try:
        for engine in engines.values():
            await engine.start()
        comparisons = []
        for num_brands in arguments.brands:
            requests = make_requests(vocabulary, adapters[:num_brands], arguments.requests, arguments.tokens)
            comparisons.append(Comparison(num_brands, await _rounds(engines, requests, arguments.rounds)))
        status = engines["on"].status().mixing
    finally:
        for engine in engines.values():
            await engine.stop()
    return report(arguments, base.name, comparisons, status)


async def _rounds(
    engines: dict[str, EngineClient], requests: list[GenerateRequest], count: int
) -> dict[str, list[Round]]:
    for engine in engines.values():
        await together(engine, requests)  # loads the adapters
    rounds: dict[str, list[Round]] = {way: [] for way in WAYS}
    for _ in range(count):
        for way in WAYS:
            rounds[way].append(await together(engines[way], requests))
    return rounds


def _changed(settings: EngineSettings, way: str) -> EngineSettings:
    return settings.model_copy(update={"mix_brands": way})


def report(arguments: argparse.Namespace, base: str, comparisons: list[Comparison], status: MixStatus) -> str:
    tried = f"{status.together_seconds * 1e3:.0f} ms together, {status.apart_seconds * 1e3:.0f} ms in turns"
    state = f"mixed, {status.num_batches} batches" if status.is_on else f"in turns: {status.note}"
    return "\n".join(
        [
            f"# {arguments.requests} requests of {arguments.tokens} tokens: mixed against turns ({base})",
            "",
            "| brands | tokens/s in turns | mixed | ratio | first token in turns, s | mixed, s | answers |",
            "|---|---|---|---|---|---|---|",
            *(comparison.row for comparison in comparisons),
            "",
            f"The engine's own trial (two voices, four rows each, processor time): {tried}. It ran {state}.",
            f"{arguments.rounds} rounds, alternating; adapters of rank {RANK} on all linear layers.",
            "",
            conditions(),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--brands", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", action="store_true", help="write the result to benchmarks/results/mixed-brands.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = asyncio.run(measure(arguments, Path(folder)))
    print(text)
    if arguments.save:
        (RESULTS / "mixed-brands.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
