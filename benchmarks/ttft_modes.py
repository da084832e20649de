"""Time to the first token by how the sources are read: in one piece, and as blocks that are computed once.

    python -m benchmarks.ttft_modes [--tokens 2000] [--rounds 5] [--seconds 600] [--adapter FILE.gguf] [--save]

Every way runs in each round, one after the other, on the default base: two engine processes, one for each layout, of
which one is idle. Each request asks for one token about the same sources of the sample company, cut to the size that
ingest gives chunks. Times are the engine's own, from the request's arrival in it. Says nothing about answers: how good
they are from blocks is another measurement, which has not been made with the shipped adapters.
"""

import argparse
import asyncio
import hashlib
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.conditions import RESULTS, conditions
from config.models import resolve_base
from config.prompt import Conversation, Source, Turn, render
from config.settings import SAMPLE, Settings, load_settings
from server.engine.client import EngineClient
from server.engine.messages import AdapterRef, FinishedEvent, GenerateRequest
from server.engine.storage import EngineStorage
from server.engine.vocabulary import Vocabulary
from server.lifecycle import turn_format_of

QUESTIONS = ("How long is the warranty?", "Who approves travel?", "What does it cost?", "When is the office open?")
NOTE = """Only the time was measured. How good answers from blocks are with the shipped adapters, which were trained on
sources in one piece, has not been measured here. A mode that computes the first tokens of each block in place
("linked") does not exist yet."""
COLD, REORDERED, FOLLOWED, BLOCKS_COLD, BLOCKS_WARM, BLOCKS_BRAND, BLOCKS_DISK = WAYS = (
    "one piece, nothing cached",
    "one piece, the same sources in another order",
    "one piece, the same sources in the same order",
    "blocks, nothing cached",
    "blocks known, another order",
    "blocks known, another order, another brand's adapter",
    "blocks from disk, after a restart",
)


@dataclass(frozen=True)
class Asked:
    seconds: float
    num_prompt: int
    num_cached: int


class Prompts:
    """Requests about sources in a given order; each is about another question, and has an id of its own."""

    def __init__(self, vocabulary: Vocabulary, num_tokens: int, chunk_tokens: int) -> None:
        self._vocabulary = vocabulary
        self._format = turn_format_of(vocabulary)
        self._count = 0
        self.sources = self._cut(num_tokens, chunk_tokens)

    def request(self, order: Sequence[int], adapter: AdapterRef | None = None) -> GenerateRequest:
        question = f"{QUESTIONS[self._count % len(QUESTIONS)]} ({self._count})"
        self._count += 1
        conversation = Conversation((Turn("user", question),), tuple(self.sources[place] for place in order))
        prompt = render(conversation, self._format, self._vocabulary.encode)
        return GenerateRequest(
            str(self._count), prompt.tokens, 1, prompt.voice_boundary, adapter, fact_bounds=prompt.fact_bounds
        )

    def _cut(self, num_tokens: int, chunk_tokens: int) -> list[Source]:
        """Paragraphs of the sample company's Markdown, joined up to the size of a chunk."""
        texts = [path.read_text(encoding="utf-8") for path in sorted((SAMPLE / "documents").rglob("*.md"))]
        sources: list[Source] = []
        total, taken = 0, ""
        for paragraph in (part for text in texts for part in text.split("\n\n")):
            taken = f"{taken}\n{paragraph}"
            if (size := self._vocabulary.count(taken)) >= chunk_tokens and total < num_tokens:
                sources.append(Source(len(sources) + 1, "Sample company", "", taken))
                total, taken = total + size, ""
        return sources


async def ask(engine: EngineClient, request: GenerateRequest) -> Asked:
    async for event in engine.generate(request):
        if isinstance(event, FinishedEvent):
            return Asked(event.first_token_seconds, event.num_prompt_tokens, event.num_cached_tokens)
    raise SystemExit(f"Request {request.request_id} did not finish.")


async def one_round(
    exact: EngineClient, blocks: EngineClient, prompts: Prompts, adapter: AdapterRef | None, order: list[int]
) -> dict[str, Asked]:
    other = order[::-1]
    found: dict[str, Asked] = {}
    await exact.drop_prefixes()
    found[COLD] = await ask(exact, prompts.request(order))
    found[FOLLOWED] = await ask(exact, prompts.request(order))
    found[REORDERED] = await ask(exact, prompts.request(other))
    await blocks.drop_prefixes()
    found[BLOCKS_COLD] = await ask(blocks, prompts.request(order))
    found[BLOCKS_WARM] = await ask(blocks, prompts.request(other))
    if adapter is not None:
        await ask(blocks, prompts.request(order[:1], adapter))  # loads the adapter, which is not what is measured
        rotated = [*order[2:], *order[:2]]
        found[BLOCKS_BRAND] = await ask(blocks, prompts.request(rotated, adapter))
    return found


async def from_disk(settings: Settings, storage: EngineStorage, prompts: Prompts, order: list[int]) -> Asked:
    engine = await started(settings, "blocks", storage)
    try:
        return await ask(engine, prompts.request(order))
    finally:
        await engine.stop()


async def started(settings: Settings, layout: str, storage: EngineStorage | None) -> EngineClient:
    section = settings.engine.model_copy(update={"fact_layout": layout})
    engine = EngineClient(resolve_base(settings).path, section, storage)
    await engine.start()
    if engine.status().facts.layout != layout:
        raise SystemExit(f"The engine does not read blocks here: {engine.status().facts.note}.")
    return engine


def adapter_at(path: Path) -> AdapterRef:
    return AdapterRef(path.parent.name, path, hashlib.sha256(path.read_bytes()).hexdigest())


async def measure(arguments: argparse.Namespace, folder: Path) -> str:
    settings = load_settings()
    base = resolve_base(settings)
    prompts = Prompts(Vocabulary.open(base.path), arguments.tokens, settings.ingest.chunk_tokens)
    adapter = adapter_at(arguments.adapter) if arguments.adapter else None
    storage = EngineStorage(folder, base.sha256)
    exact, blocks = await started(settings, "exact", None), await started(settings, "blocks", storage)
    order, chance = list(range(len(prompts.sources))), random.Random(1)
    rounds: list[dict[str, Asked]] = []
    try:
        await one_round(exact, blocks, prompts, adapter, order[:1])
        deadline = time.monotonic() + arguments.seconds
        while len(rounds) < arguments.rounds and time.monotonic() < deadline:
            chance.shuffle(order)
            rounds.append(await one_round(exact, blocks, prompts, adapter, order))
    finally:
        await exact.stop()
        await blocks.stop()
    for found in rounds:
        found[BLOCKS_DISK] = await from_disk(settings, storage, prompts, order)
    return report(base.name, len(prompts.sources), rounds)


def report(base: str, num_sources: int, rounds: list[dict[str, Asked]]) -> str:
    cold = statistics.median(found[COLD].seconds for found in rounds)
    rows = []
    for way in WAYS:
        asked = [found[way] for found in rounds if way in found]
        if asked:
            seconds = [one.seconds for one in asked]
            middle = statistics.median(seconds)
            cached = f"{asked[-1].num_cached} of {asked[-1].num_prompt}"
            rows.append(
                f"| {way} | {cached} | {middle:.3f} | {min(seconds):.3f}..{max(seconds):.3f} | {cold / middle:.1f} |"
            )
    return "\n".join(
        [
            f"# Time to the first token by how sources are read ({base}, {num_sources} sources, rounds: {len(rounds)})",
            "",
            "| | tokens cached | p50 seconds | least..most | times faster than cold |",
            "|---|---|---|---|---|",
            *rows,
            "",
            NOTE,
            "",
            conditions(),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokens", type=int, default=2_000, help="of all sources together")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=600, help="after so many no new round begins")
    parser.add_argument("--adapter", type=Path, help="another brand's, for the same blocks")
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = asyncio.run(measure(arguments, Path(folder) / "factcache"))
    print(text)
    if arguments.save:
        (RESULTS / "ttft-modes.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
