"""The server whose cache is tried, the engine that has never seen anything, and what was found."""

import asyncio
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bench.peers import cache_folder
from benchmarks.bench.pool import make_chunks, sentences_of
from benchmarks.bench.pool import question as question_about
from benchmarks.bench.prompts import Prompter
from benchmarks.bench.run import API_SECONDS, demand_success, get
from benchmarks.bench.shapes import LINEAR, AdapterShape, random_adapters
from benchmarks.bench.systems import (
    BASE_NAME,
    KNOWLEDGE_BASE,
    brand_name,
    brands_in,
    housevoice,
    settings_for,
)
from benchmarks.fact_churn.distance import Said, Word, distance
from benchmarks.fact_churn.shelf import Shelf
from benchmarks.ttft_modes import adapter_at
from config.models import resolve_base
from config.prompt import Source
from config.settings import SAMPLE, load_settings
from server.engine.client import EngineClient
from server.engine.messages import FailedEvent, GenerateRequest, Sampling, TextEvent, TokenChoice
from server.engine.vocabulary import Vocabulary
from server.lifecycle import turn_format_of

CHUNK_TOKENS, NUM_BRANDS = 70, 4
MAX_TOKENS, MOST_SOURCES = 12, 4
BUDGETS = {"FACT_MEMORY_BYTES": 8_000_000, "FACT_DISK_BYTES": 24_000_000}
"""About a tenth and a quarter of what all documents would take."""
IDLE_TOKENS = 512
NUM_TOP = 20
CONTROL_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Question:
    """wrong: the sources with another document's in the place of one; empty where no control is wanted."""

    text: str
    documents: tuple[str, ...]
    sources: tuple[Source, ...]
    brand: int | None
    wrong: tuple[Source, ...] = ()


@dataclass(slots=True)
class Findings:
    """distances: of answers that should be equal; controls: of those with a wrong source. equal: to the token."""

    happened: Counter[str] = field(default_factory=Counter)
    distances: list[float] = field(default_factory=list)
    controls: list[float] = field(default_factory=list)
    num_equal: int = 0
    most_bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("memory", "disk", "folder"), 0))
    levels: Counter[str] = field(default_factory=Counter)
    engine_bytes: list[int] = field(default_factory=list)


class World:
    """The server under test, and the engine that has never seen anything."""

    def __init__(self, folder: Path, chance: random.Random, num_texts: int) -> None:
        self._base = resolve_base(load_settings())
        self._vocabulary = Vocabulary.open(self._base.path)
        self._folder, self._chance, self._count = folder, chance, 0
        chunks = make_chunks(sentences_of(SAMPLE / "documents"), num_texts, CHUNK_TOKENS, self._vocabulary.count)
        self.shelf = Shelf(folder / "documents", [chunk.text for chunk in chunks], chance)
        self.found = Findings()
        invocation = self._vocabulary.encode(turn_format_of(self._vocabulary).user_open, is_template=True)
        shape = AdapterShape(8, LINEAR)
        self._adapters = random_adapters(
            cache_folder(), self._base.path, self._base.sha256, invocation, NUM_BRANDS, shape
        )
        self._brands = brands_in(folder, NUM_BRANDS)
        self._bias = tuple((token, -100.0) for token in sorted(self._vocabulary.end_tokens))
        self._stack = ExitStack()

    def start(self) -> None:
        settings = settings_for(self._base.path, self._brands) | {
            "HOUSEVOICE_ENGINE_FACT_LAYOUT": "blocks",
            "HOUSEVOICE_ENGINE_FACT_AHEAD": "true",
            "HOUSEVOICE_ENGINE_IDLE_TOKENS": str(IDLE_TOKENS),
            **{f"HOUSEVOICE_ENGINE_{name}": str(value) for name, value in BUDGETS.items()},
        }
        self._server = self._stack.enter_context(housevoice(self._folder, self._vocabulary.end_tokens, settings))
        self._prompter = Prompter(self._server, self._vocabulary, turn_format_of(self._vocabulary), "blocks")

    def stop(self, *, is_killed: bool = False) -> None:
        """Takes the counts along, which begin anew with each start."""
        self._count_levels()
        if is_killed:
            os.kill(self._server.process_id, signal.SIGKILL)
        self._stack.close()

    async def give_adapters(self) -> None:
        card = {"made_by": "benchmarks.fact_churn: random weights", "fact_layout": "blocks"}
        for number, path in enumerate(self._adapters):
            body = {"brand": brand_name(number), "path": str(path), "card": card, "activate": True}
            await self._post("/api/adapters", body)

    async def ingest(self) -> None:
        """Raises SystemExit where a document was not indexed."""
        body = {"path": str(self.shelf.folder), "knowledge_base": KNOWLEDGE_BASE}
        last = json.loads((await self._post("/api/ingest", body)).text.splitlines()[-1])
        if last.get("report", {}).get("failures", True):
            raise SystemExit(f"Ingest: {last}")

    def questions(self, count: int, avoided: AbstractSet[str] = frozenset()) -> list[Question]:
        """About documents as they are now; each source must be what its file says."""
        known = sorted(set(self.shelf.documents) - avoided)
        return [self._question(known) for _ in range(count)]

    async def check(self, reference: EngineClient, questions: Sequence[Question]) -> None:
        answers = await asyncio.gather(*(self._ask(question) for question in questions))
        for question, answer in zip(questions, answers, strict=True):
            cold = await self._cold(reference, question)
            self.found.distances.append(distance(answer, cold))
            self.found.num_equal += [word.piece for word in answer.words] == [word.piece for word in cold.words]
            if question.wrong:
                wrong = await self._cold(reference, replace(question, sources=question.wrong))
                self.found.controls.append(distance(wrong, cold))

    def damage(self) -> None:
        """Other bytes in the middle of one file of the cache."""
        files = sorted((self._folder / "data" / "factcache").glob("*"))
        if not files:
            return
        path = self._chance.choice(files)
        try:
            whole = bytearray(path.read_bytes())
            whole[len(whole) // 2] ^= 0xFF
            path.write_bytes(whole)
        except (FileNotFoundError, IndexError):  # it has just gone
            return

    def look(self) -> None:
        """At what the cache takes now."""
        facts, most = get(self._server, "/api/status")["engine"]["facts"], self.found.most_bytes
        sizes = [path.stat().st_size for path in (self._folder / "data" / "factcache").glob("*") if path.exists()]
        now = {"memory": facts["num_memory_bytes"], "disk": facts["num_disk_bytes"], "folder": sum(sizes)}
        self.found.most_bytes = {name: max(most[name], size) for name, size in now.items()}
        self.found.engine_bytes.append(max(_resident_bytes(child) for child in _children(self._server.process_id)))

    def _question(self, known: Sequence[str]) -> Question:
        self._count += 1
        text = question_about(self._chance, self._count)
        documents = tuple(self._chance.sample(known, self._chance.randint(1, MOST_SOURCES)))
        sources = self._prompter.sources(text, documents)
        stale = [source.text for source in sources if source.text not in map(self.shelf.documents.get, documents)]
        if stale:
            raise SystemExit(f"Retrieved, but not what a document says now: {stale[0][:200]!r}")
        wrong = self._one_wrong(text, sources, set(known) - set(documents))
        return Question(text, documents, sources, self._chance.choice([None, *range(NUM_BRANDS)]), wrong)

    def _one_wrong(self, text: str, sources: tuple[Source, ...], others: set[str]) -> tuple[Source, ...]:
        if self._chance.random() >= CONTROL_SHARE:
            return ()
        (wrong,) = self._prompter.sources(text, (self._chance.choice(sorted(others)),))
        place = self._chance.randrange(len(sources))
        return (*sources[:place], replace(wrong, number=sources[place].number), *sources[place + 1 :])

    async def _ask(self, asked: Question) -> Said:
        body: dict[str, Any] = {
            "model": BASE_NAME if asked.brand is None else brand_name(asked.brand),
            "messages": [{"role": "user", "content": asked.text}],
            "temperature": 0,
            "repetition_penalty": 1.0,
            "max_tokens": MAX_TOKENS,
            "logprobs": True,
            "logit_bias": {str(token): bias for token, bias in self._bias},
            "retrieval": {"filters": {"path": list(asked.documents)}},
        }
        answer = await self._post("/v1/chat/completions", body)
        content = answer.json()["choices"][0]["logprobs"]["content"]
        return Said(tuple(Word(bytes(item["bytes"]), item["logprob"]) for item in content))

    async def _cold(self, reference: EngineClient, asked: Question) -> Said:
        prompt = self._prompter.render(asked.text, asked.sources, asked.brand)
        self._count += 1
        path = None if asked.brand is None else self._adapters[asked.brand]
        request = GenerateRequest(
            request_id=f"cold {self._count}",
            tokens=prompt.tokens,
            max_tokens=MAX_TOKENS,
            voice_boundary=prompt.voice_boundary,
            adapter=adapter_at(path) if path else None,
            fact_bounds=prompt.fact_bounds,
            sampling=Sampling(logit_bias=self._bias),
            num_top_logprobs=NUM_TOP,
        )
        await reference.drop_prefixes()
        choices: list[TokenChoice] = []
        async for event in reference.generate(request):
            if isinstance(event, FailedEvent):
                raise SystemExit(f"The reference failed: {event.message}")
            choices += event.choices if isinstance(event, TextEvent) else ()
        words = [Word(choice.chosen.piece, choice.chosen.logprob) for choice in choices]
        others = [tuple(Word(other.piece, other.logprob) for other in choice.alternatives) for choice in choices]
        return Said(tuple(words), tuple(others))

    async def _post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        async with httpx.AsyncClient(timeout=API_SECONDS, trust_env=False) as client:
            response = await client.post(self._server.url + path, json=body, headers=self._server.headers)
        return demand_success(response)

    def _count_levels(self) -> None:
        facts = get(self._server, "/api/status")["engine"]["facts"]
        names = {"context": "num_context_hits", "memory": "num_memory_hits", "disk": "num_disk_hits"}
        names |= {"computed": "num_misses", "damaged": "num_damaged"}
        self.found.levels.update({name: facts[key] for name, key in names.items()})


def _children(process_id: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{process_id}/task").glob("*"):
        for child in (task / "children").read_text(encoding="ascii").split():
            found += [int(child), *_children(int(child))]
    return found


def _resident_bytes(process_id: int) -> int:
    pages = int(Path(f"/proc/{process_id}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
