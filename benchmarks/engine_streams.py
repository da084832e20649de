"""Sixteen requests together against one after another, over the base and any number of adapters.

    python -m benchmarks.engine_streams [--adapter FILE.gguf ...] [--requests 16] [--tokens 48] [--rounds 3] [--save]

Both ways run in one engine process, alternating, with nothing cached before each; the ratio is of the medians. Answers
are compared as well: speed that changes answers counts for nothing.
"""

import argparse
import asyncio
import hashlib
import statistics
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.answers import Token, compare, tally
from benchmarks.conditions import RESULTS, conditions
from config.models import resolve_base
from config.settings import load_settings
from server.engine.client import EngineClient
from server.engine.messages import AdapterRef, FinishedEvent, GenerateRequest, TextEvent, TokenChoice
from server.engine.vocabulary import Vocabulary

FACTS = "The returns desk is open from Monday to Friday. Parcels above 20 kg are collected. " * 6


@dataclass(frozen=True)
class Answer:
    request_id: str
    choices: tuple[TokenChoice, ...]
    num_prompt_tokens: int
    first_token_seconds: float


@dataclass(frozen=True)
class Round:
    seconds: float
    answers: tuple[Answer, ...]

    @property
    def tokens_per_second(self) -> float:
        return sum(len(answer.choices) for answer in self.answers) / self.seconds


def tokens_of(answer: Answer) -> list[Token]:
    return [
        Token(str(choice.chosen.token), choice.alternatives[0].logprob - choice.alternatives[1].logprob)
        for choice in answer.choices
    ]


def make_requests(vocabulary: Vocabulary, adapters: list[AdapterRef], count: int, tokens: int) -> list[GenerateRequest]:
    """Every voice gets the same number of requests; facts stand before the voice boundary, as in serving."""
    voices = [*adapters, None] if adapters else [None]
    facts = vocabulary.encode(f"<|im_start|>system\n{FACTS}<|im_end|>\n", is_template=True)
    requests = []
    for number in range(count):
        question = f"<|im_start|>user\nTell me a story about {number + 2} parcels.<|im_end|>\n<|im_start|>assistant\n"
        prompt = tuple(facts + vocabulary.encode(question, is_template=True))
        requests.append(
            GenerateRequest(str(number), prompt, tokens, len(facts), voices[number % len(voices)], num_top_logprobs=2)
        )
    return requests


async def answer_one(engine: EngineClient, request: GenerateRequest) -> Answer:
    choices: list[TokenChoice] = []
    async for event in engine.generate(request):
        if isinstance(event, TextEvent):
            choices += event.choices
        elif isinstance(event, FinishedEvent):
            return Answer(request.request_id, tuple(choices), event.num_prompt_tokens, event.first_token_seconds)
        else:
            raise SystemExit(event.message)
    raise SystemExit(f"request {request.request_id} ended without an event")


async def together(engine: EngineClient, requests: list[GenerateRequest]) -> Round:
    await engine.drop_prefixes()
    begin = time.perf_counter()
    answers = await asyncio.gather(*(answer_one(engine, request) for request in requests))
    return Round(time.perf_counter() - begin, tuple(answers))


async def one_after_another(engine: EngineClient, requests: list[GenerateRequest]) -> Round:
    await engine.drop_prefixes()
    begin = time.perf_counter()
    answers = [await answer_one(engine, request) for request in requests]
    return Round(time.perf_counter() - begin, tuple(answers))


async def single_stream(engine: EngineClient, request: GenerateRequest) -> tuple[float, float]:
    """(prompt tokens per second, answer tokens per second) of one cold request."""
    await engine.drop_prefixes()
    begin = time.perf_counter()
    answer = await answer_one(engine, request)
    decode_seconds = time.perf_counter() - begin - answer.first_token_seconds
    return answer.num_prompt_tokens / answer.first_token_seconds, (len(answer.choices) - 1) / decode_seconds


async def measure(arguments: argparse.Namespace) -> str:
    settings = load_settings()
    base = resolve_base(settings)
    adapters = [
        AdapterRef(path.stem, path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in arguments.adapter
    ]
    requests = make_requests(Vocabulary.open(base.path), adapters, arguments.requests, arguments.tokens)
    engine = EngineClient(base.path, settings.engine)
    await engine.start()
    try:
        await together(engine, requests[:2])
        prefill, decode = await single_stream(engine, requests[0])
        rounds = [
            (await one_after_another(engine, requests), await together(engine, requests))
            for _ in range(arguments.rounds)
        ]
    finally:
        await engine.stop()
    return report(arguments, base.name, prefill, decode, rounds)


def report(
    arguments: argparse.Namespace, base: str, prefill: float, decode: float, rounds: list[tuple[Round, Round]]
) -> str:
    alone = statistics.median(first.tokens_per_second for first, _ in rounds)
    joined = statistics.median(second.tokens_per_second for _, second in rounds)
    verdicts = [
        compare(tokens_of(expected), tokens_of(found))
        for first, second in rounds
        for expected, found in zip(first.answers, second.answers, strict=True)
    ]
    num_voices = len(arguments.adapter) + 1
    return "\n".join(
        [
            f"# {arguments.requests} requests together against one after another ({base}, {num_voices} voices)",
            "",
            "| | answer tokens/s |",
            "|---|---|",
            f"| one after another | {alone:.1f} |",
            f"| together | {joined:.1f} |",
            f"| **ratio** | **{joined / alone:.2f}** |",
            "",
            f"One cold request alone: prompt {prefill:.0f} tokens/s, answer {decode:.1f} tokens/s.",
            f"Answers: {tally(verdicts)}; {len(rounds)} rounds.",
            "",
            conditions(),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--adapter", type=Path, action="append", default=[])
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    text = asyncio.run(measure(arguments))
    print(text)
    if arguments.save:
        name = f"engine_streams_{len(arguments.adapter)}_adapters_{datetime.now(UTC):%Y%m%d}.md"
        (RESULTS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
