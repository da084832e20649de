"""How well does an adapter do on its own held-out rows, on a base that nobody serves yet? No server, no documents.

The rows carry the sources that retrieval found when they were written, so both sides of an upgrade read the same. What
this does not cover is retrieval itself: `housevoice adapter evaluate` asks a running server.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from adapters.evaluation.facts import fact_of, refuses
from adapters.evaluation.measures import Judged, judge, system_of
from adapters.evaluation.questions import Answer, Marker, Question, Source
from adapters.examples import Example, read_examples
from adapters.format_rules import label_of
from adapters.lora_header import is_plain
from adapters.training.dataset import as_blocks
from config.brands import Brand
from config.fact_layout import FactLayout, layout_named, slower_of
from config.models import ModelFile
from config.prompt import Source as PromptSource
from config.prompt import TurnFormat
from config.settings import EngineSettings
from server.engine.client import EngineClient
from server.engine.messages import AdapterRef, Engine, FailedEvent, GenerateRequest, TextEvent
from server.engine.vocabulary import Vocabulary
from server.failures import error_of
from server.fitting import TokenLimits, fit
from server.sampling_choice import SamplingChoice, sampling_with_defaults, with_leaning

MARKER = re.compile(r"\[(\d+)\]")
MAX_DIGITS = 9
NUM_AT_ONCE = 8
COLUMNS = ("form", "correct", "grounded", "citation", "fact", "refusal", "wrong_refusal")
Shares = Mapping[str, str]
"""By column: a share of the rows with its interval, as people read it; "-" where it applies to none."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One row. fact: what the answer must contain."""

    example: Example
    fact: str


@dataclass(frozen=True, slots=True)
class OpenedBase:
    """A base that generates, for the length of `opened_base`."""

    engine: Engine
    vocabulary: Vocabulary
    turn_format: TurnFormat
    settings: EngineSettings

    async def shares(
        self, brand: Brand, adapter: AdapterRef | None, rows: Sequence[HeldOut], fact_layout: FactLayout = "exact"
    ) -> Shares:
        """Of greedy answers to all rows. fact_layout: the fastest that the adapter was trained for.

        Raises HousevoiceError where the engine fails.
        """
        places = asyncio.Semaphore(NUM_AT_ONCE)
        layout = slower_of(layout_named(self.engine.status().facts.layout), fact_layout)
        if layout == "blocks":
            rows = [replace(row, example=as_blocks(row.example)) for row in rows]

        async def judged(number: int, row: HeldOut) -> Judged:
            async with places:
                return _judge(row, await self._answer(f"{brand.name}-{number}", brand, adapter, row, layout), brand)

        answers = await asyncio.gather(*(judged(number, row) for number, row in enumerate(rows)))
        found = system_of(brand.name, "", answers).scores
        return {column: str(found[column] or "-") for column in COLUMNS}

    async def _answer(
        self, request_id: str, brand: Brand, adapter: AdapterRef | None, row: HeldOut, layout: FactLayout
    ) -> str:
        num_answer = brand.sampling.max_tokens or self.settings.default_max_tokens
        limits = TokenLimits(min(self.settings.max_request_tokens, self.vocabulary.context_length), num_answer)
        prompt = fit(row.example.conversation, self.turn_format, self.vocabulary.encode, limits).prompt
        sampling = sampling_with_defaults(SamplingChoice(temperature=0.0), brand.sampling, 0)
        schema = json.dumps(brand.json_schema or {}) if brand.output == "json" else None
        request = GenerateRequest(
            request_id=request_id,
            tokens=prompt.tokens,
            max_tokens=num_answer,
            voice_boundary=0 if adapter and is_plain(adapter.path, adapter.sha256) else prompt.voice_boundary,
            adapter=adapter,
            fact_bounds=prompt.fact_bounds if layout == "blocks" else (),
            sampling=with_leaning(sampling, brand, self.vocabulary.encode) if adapter and not schema else sampling,
            json_schema=schema,
        )
        parts = []
        async for event in self.engine.generate(request):
            if isinstance(event, FailedEvent):
                raise error_of(event)
            parts.append(event.text if isinstance(event, TextEvent) else "")
        return "".join(parts)


@asynccontextmanager
async def opened_base(base: ModelFile, settings: EngineSettings) -> AsyncIterator[OpenedBase]:
    """Starts an engine process of its own. Raises ModelError, EngineError."""
    from server.lifecycle import turn_format_of

    vocabulary = Vocabulary.open(base.path)
    limit = min(settings.max_request_tokens, vocabulary.context_length)
    engine = EngineClient(base.path, settings.model_copy(update={"max_request_tokens": limit}))
    await engine.start()
    try:
        yield OpenedBase(engine, vocabulary, turn_format_of(vocabulary), settings)
    finally:
        await engine.stop()


def read_held_out(path: Path, brand: Brand, limit: int) -> list[HeldOut]:
    """At most `limit` rows, spread over the file. Raises BadRequestError for bad ones."""
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    rows = [
        HeldOut(example, _fact(json.loads(lines[example.line - 1]), example))
        for example in read_examples(path, brand.system_prompt)
    ]
    step = max(1, -(-len(rows) // limit))
    return rows[::step]


def _fact(row: dict[str, object], example: Example) -> str:
    """As the row states it, or else the numbers of the expected answer."""
    return str(row.get("fact") or fact_of(example.answer))


def _judge(row: HeldOut, text: str, brand: Brand) -> Judged:
    """Sources go by their numbers. The right one is what the expected answer cites first; where it cites none, citing
    is not judged.
    """
    conversation, reference = row.example.conversation, row.example.answer
    is_answerable = not refuses(reference, brand)
    expected = MARKER.search(reference)
    question = Question(
        id=str(row.example.line),
        kind="",
        turns=conversation.turns,
        reference=reference,
        documents=(expected[1],) if expected else None,
        fact=row.fact if is_answerable else "",
        label=label_of(reference, brand.format) if brand.format.labels and is_answerable else None,
        is_answerable=is_answerable,
    )
    sources = tuple(Source(str(s.number), s.title, s.heading, s.text) for s in conversation.sources)
    return judge(question, Answer(text, _markers(text, conversation.sources), sources), brand)


def _markers(text: str, shown: Sequence[PromptSource]) -> tuple[Marker, ...]:
    places = {source.number: place for place, source in enumerate(shown)}
    found = ((match, int(match[1])) for match in MARKER.finditer(text) if len(match[1]) < MAX_DIGITS)
    return tuple(Marker(match.start(), match.end(), places[n]) for match, n in found if n in places)
