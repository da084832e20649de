"""Answer tokens a second with drafts and without: where answers quote their sources, and where they do not.

    python -m benchmarks.drafts [--rounds 3] [--questions 6] [--tokens 120] [--seconds 900] [--save]

Two engine processes, with engine.drafts "auto" and "off", of which one is idle; they answer in turn. Step times are
measured once, at the first one's start, so run it on an idle machine. Prompts:

- company: questions about the sample company in a brand's voice (its adapter, greedy), which quotes the sources;
- repeat: the base repeats one of those sources word for word, greedy;
- story: the base writes freely at temperature 0.8 with fixed seeds, and quotes nobody;
- together: four company questions at a time.

A rate is of the tokens after the first one. Answers are compared as well, and must be equal.
"""

import argparse
import asyncio
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.answers import Token, Verdict, compare, tally
from benchmarks.conditions import RESULTS, conditions
from config.brands import load_brands
from config.models import resolve_base
from config.prompt import Conversation, Source, Turn, TurnFormat, render
from config.settings import SAMPLE, Settings, load_settings
from server.engine.client import EngineClient
from server.engine.messages import (
    AdapterRef,
    EngineStatus,
    FinishedEvent,
    GenerateRequest,
    Sampling,
    TextEvent,
    TokenChoice,
)
from server.engine.storage import EngineStorage
from server.engine.vocabulary import Vocabulary
from server.lifecycle import turn_format_of

BRAND = "halden"
NUM_SOURCES = 3
NUM_TOGETHER = 4
NUM_TOP = 2
SUBJECTS = ("a lighthouse", "two brothers", "a lost letter", "the last train", "a garden in winter", "an old clock")
WORKLOADS = ("company", "repeat", "story", "together")


@dataclass(frozen=True)
class Answer:
    """seconds: from the first token to the last."""

    choices: tuple[TokenChoice, ...]
    seconds: float

    @property
    def tokens(self) -> list[Token]:
        return [
            Token(str(choice.chosen.token), choice.alternatives[0].logprob - choice.alternatives[1].logprob)
            for choice in self.choices
        ]


@dataclass(frozen=True)
class Pair:
    """The same requests with drafts and without, by workload; rates are tokens a second."""

    workload: str
    drafted: float
    plain: float
    verdicts: tuple[Verdict, ...]


class Prompts:
    """Requests of each workload, made of the sample company's held-out questions and the paragraphs they are about."""

    def __init__(self, vocabulary: Vocabulary, num_tokens: int) -> None:
        self._vocabulary = vocabulary
        self._format: TurnFormat = turn_format_of(vocabulary)
        self._num_tokens = num_tokens
        self._adapter = _adapter_at(SAMPLE / "adapters" / BRAND / "adapter.gguf")
        self._words = load_brands(SAMPLE / "brands")[BRAND].system_prompt
        self._questions = list(_questions())

    def company(self, number: int) -> GenerateRequest:
        question, _ = self._questions[number % len(self._questions)]
        texts = [self._questions[(number + shift) % len(self._questions)][1] for shift in range(NUM_SOURCES)]
        sources = tuple(Source(place, "Sample company", "", text) for place, text in enumerate(texts, 1))
        conversation = Conversation((Turn("user", question),), sources, self._words)
        return replace(self._request(conversation), adapter=self._adapter)

    def repeat(self, number: int) -> GenerateRequest:
        text = self._questions[number % len(self._questions)][1]
        return self._request(Conversation((Turn("user", f"Repeat this text word for word:\n\n{text}"),)))

    def story(self, number: int) -> GenerateRequest:
        asked = f"Write a story about {SUBJECTS[number % len(SUBJECTS)]}."
        sampling = Sampling(temperature=0.8, top_p=0.95, seed=number)
        return replace(self._request(Conversation((Turn("user", asked),))), sampling=sampling)

    def _request(self, conversation: Conversation) -> GenerateRequest:
        prompt = render(conversation, self._format, self._vocabulary.encode)
        return GenerateRequest("", prompt.tokens, self._num_tokens, prompt.voice_boundary, num_top_logprobs=NUM_TOP)


def _questions() -> list[tuple[str, str]]:
    """Held-out questions, each with the paragraph that answers it."""
    found = []
    for line in (SAMPLE / "examples" / f"{BRAND}-pairs.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["split"] != "train" and row.get("evidence") and row["documents"][0].endswith(".md"):
            paragraphs = (SAMPLE / "documents" / row["documents"][0]).read_text(encoding="utf-8").split("\n\n")
            about = next((part for part in paragraphs if row["evidence"][0] in part), "")
            if about:
                found.append((row["messages"][0]["content"], about))
    return found


def _adapter_at(path: Path) -> AdapterRef:
    return AdapterRef(BRAND, path, hashlib.sha256(path.read_bytes()).hexdigest())


async def ask(engine: EngineClient, request: GenerateRequest) -> Answer:
    choices: list[TokenChoice] = []
    async for event in engine.generate(request):
        if isinstance(event, TextEvent):
            choices += event.choices
        elif isinstance(event, FinishedEvent):
            return Answer(tuple(choices), event.total_seconds - event.first_token_seconds)
        else:
            raise SystemExit(event.message)
    raise SystemExit(f"Request {request.request_id} ended without an event.")


async def run(engine: EngineClient, name: str, requests: Sequence[GenerateRequest]) -> tuple[float, list[Answer]]:
    """Tokens a second, and the answers. Prompts are warm, so that they do not stand between the answers."""
    for request in requests:
        await ask(engine, replace(request, request_id=f"{name} warm", max_tokens=1))
    begin = time.perf_counter()
    named = [replace(request, request_id=f"{name} {number}") for number, request in enumerate(requests)]
    answers = await asyncio.gather(*(ask(engine, request) for request in named))
    if len(answers) > 1:
        return sum(len(answer.choices) for answer in answers) / (time.perf_counter() - begin), list(answers)
    return (len(answers[0].choices) - 1) / max(answers[0].seconds, 1e-9), list(answers)


async def one_pair(
    engines: tuple[EngineClient, EngineClient], workload: str, requests: Sequence[GenerateRequest], turn: int
) -> Pair:
    """Drafted and plain, in an order that changes with `turn`."""
    found: dict[int, tuple[float, list[Answer]]] = {}
    for place in (0, 1) if turn % 2 else (1, 0):
        found[place] = await run(engines[place], f"{workload} {turn}", requests)
    pairs = zip(found[1][1], found[0][1], strict=True)
    verdicts = tuple(compare(reference.tokens, answer.tokens) for reference, answer in pairs)
    return Pair(workload, found[0][0], found[1][0], verdicts)


def requests_of(prompts: Prompts, workload: str, number: int) -> list[GenerateRequest]:
    if workload == "together":
        return [prompts.company(number * NUM_TOGETHER + place) for place in range(NUM_TOGETHER)]
    return [getattr(prompts, workload)(number)]


async def started(settings: Settings, drafts: str, storage: EngineStorage) -> EngineClient:
    engine = EngineClient(resolve_base(settings).path, settings.engine.model_copy(update={"drafts": drafts}), storage)
    await engine.start()
    return engine


async def measure(arguments: argparse.Namespace, folder: Path) -> str:
    settings = load_settings()
    base = resolve_base(settings)
    prompts = Prompts(Vocabulary.open(base.path), arguments.tokens)
    storage = EngineStorage(folder / "factcache", base.sha256, folder / "steptimes.json", folder / "copies")
    engines = (await started(settings, "auto", storage), await started(settings, "off", storage))
    pairs: list[Pair] = []
    deadline = time.monotonic() + arguments.seconds
    try:
        for turn in range(arguments.rounds * arguments.questions):
            for workload in arguments.workload or WORKLOADS:
                if time.monotonic() < deadline:
                    pairs.append(await one_pair(engines, workload, requests_of(prompts, workload, turn), turn))
        status = engines[0].status()
    finally:
        for engine in engines:
            await engine.stop()
    return report(base.name, status, pairs)


def report(base: str, status: EngineStatus, pairs: Sequence[Pair]) -> str:
    rows = []
    for workload in WORKLOADS:
        found = [pair for pair in pairs if pair.workload == workload and pair.plain]
        if found:
            plain, drafted = (statistics.median(getattr(pair, name) for pair in found) for name in ("plain", "drafted"))
            ratios = [pair.drafted / pair.plain for pair in found]
            rows.append(
                f"| {workload} | {plain:.1f} | {drafted:.1f} | **{statistics.median(ratios):.2f}** | "
                f"{min(ratios):.2f}..{max(ratios):.2f} | {tally([v for pair in found for v in pair.verdicts])} |"
            )
    drafts = status.drafts
    times = ", ".join(f"{rows_}: {1000 * seconds:.1f}" for rows_, seconds in status.step_seconds)
    return "\n".join(
        [
            f"# Answer tokens a second with drafts and without ({base})",
            "",
            "| | without | with | ratio (median of pairs) | least..most | answers |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            f"{drafts.num_accepted} of {drafts.num_drafted} guessed tokens were right. {drafts.note}".strip(),
            f"Milliseconds of a step by rows: {times or 'not measured'}.",
            "",
            conditions(),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=6, help="of each workload in a round")
    parser.add_argument("--tokens", type=int, default=120, help="the longest answer")
    parser.add_argument("--seconds", type=float, default=900, help="after so many nothing new begins")
    parser.add_argument("--workload", choices=WORKLOADS, action="append", help="only this one; may be repeated")
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = asyncio.run(measure(arguments, Path(folder)))
    print(text)
    if arguments.save:
        (RESULTS / "drafts.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
