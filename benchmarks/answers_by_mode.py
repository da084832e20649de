"""How many answers contain the right words, by how the sources are read: in one piece, and each alone as a block.

    python -m benchmarks.answers_by_mode --questions FILE [--adapter FILE.gguf] [--limit 500] [--details FILE] [--save]

FILE: questions in SQuAD's format, such as xquad.en.json, or the folder that holds `xquad` as published. Each question
is shown with four paragraphs of its article, one of which answers it. Base and adapters answer greedily in each mode,
through one engine process as it is served; the numbers of the sources are those that the server gives in that mode. An
answer counts where one of the right ones stands in it as whole words. Differences are of the same questions, with 95 %
intervals from a paired bootstrap. With --details every answer is kept, and the same command goes on where it stopped.

Adapters that were trained on questions of FILE prove nothing here; `benchmarks.reading_rows` keeps the two apart.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adapters.evaluation.statistics import Difference, mean, paired_difference
from adapters.examples import Example
from adapters.lora_header import is_plain
from adapters.training.dataset import as_blocks
from benchmarks.conditions import RESULTS, conditions
from benchmarks.reading_set import INSTRUCTIONS, Task, contains_answer, read_articles, tasks_of
from benchmarks.ttft_modes import adapter_at, started
from config.fact_layout import FACT_LAYOUTS, FactLayout, layout_named
from config.models import resolve_base
from config.prompt import TurnFormat, render
from config.settings import load_settings
from server.engine.client import EngineClient
from server.engine.messages import AdapterRef, FailedEvent, GenerateRequest, TextEvent
from server.engine.vocabulary import Vocabulary
from server.lifecycle import turn_format_of

SEED = 7
BASE = "base without adapter"
TOLD_EVERY_SECONDS = 20.0


@dataclass(frozen=True)
class System:
    """name: for people. adapter: None for the base. trained: how the adapter was trained to read."""

    name: str
    adapter: AdapterRef | None = None
    trained: FactLayout = "exact"


@dataclass(frozen=True)
class Column:
    """One system in one mode."""

    system: System
    mode: FactLayout

    @property
    def name(self) -> str:
        return f"{self.system.name}, {self.mode}"


@dataclass
class Answers:
    """By column and question; kept in a file, one JSON object a line, where there is one. The first line says what was
    asked of whom."""

    asked: Mapping[str, object]
    path: Path | None = None
    texts: dict[tuple[str, str], str] = field(default_factory=dict)

    def open(self) -> None:
        if self.path is None:
            return
        if not self.path.exists():
            self._write(dict(self.asked))
            return
        first, *rows = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
        if first != self.asked:
            raise SystemExit(f"{self.path} holds answers of another run; name another file, or remove it.")
        self.texts = {(row["column"], row["id"]): row["text"] for row in rows}

    def add(self, column: Column, task: Task, text: str) -> None:
        self.texts[column.name, task.id] = text
        right = contains_answer(text, task.answers)
        self._write({"column": column.name, "id": task.id, "text": text, "right": right, "answers": task.answers})

    def right(self, column: Column, tasks: Sequence[Task]) -> list[float]:
        return [float(contains_answer(self.texts[column.name, task.id], task.answers)) for task in tasks]

    def _write(self, row: Mapping[str, object]) -> None:
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Asker:
    engine: EngineClient
    vocabulary: Vocabulary
    turn_format: TurnFormat
    instructions: str
    max_tokens: int

    async def ask(self, task: Task, column: Column) -> str:
        """Raises SystemExit where the engine cannot answer."""
        parts = []
        async for event in self.engine.generate(self.request(task, column)):
            if isinstance(event, FailedEvent):
                raise SystemExit(f"{column.name}, question {task.id}: {event.message}")
            parts.append(event.text if isinstance(event, TextEvent) else "")
        return "".join(parts)

    def request(self, task: Task, column: Column) -> GenerateRequest:
        """As the server asks: in blocks the sources bear lasting numbers, and the engine is told where they are."""
        conversation, adapter = task.conversation(self.instructions), column.system.adapter
        is_in_blocks = column.mode == "blocks"
        if is_in_blocks:
            conversation = as_blocks(Example(conversation, "")).conversation
        prompt = render(conversation, self.turn_format, self.vocabulary.encode)
        return GenerateRequest(
            request_id=f"{column.name}-{task.id}",
            tokens=prompt.tokens,
            max_tokens=self.max_tokens,
            voice_boundary=0 if adapter and is_plain(adapter.path, adapter.sha256) else prompt.voice_boundary,
            adapter=adapter,
            fact_bounds=prompt.fact_bounds if is_in_blocks else (),
        )


async def ask_all(
    asker: Asker, tasks: Sequence[Task], columns: Sequence[Column], answers: Answers, streams: int
) -> None:
    """All systems and modes of a question before the next one, so that what disturbs the machine disturbs all alike."""
    missing = [(task, column) for task in tasks for column in columns if (column.name, task.id) not in answers.texts]
    places, told, num_done = asyncio.Semaphore(streams), time.monotonic(), 0

    async def one(task: Task, column: Column) -> None:
        nonlocal told, num_done
        async with places:
            answers.add(column, task, await asker.ask(task, column))
        num_done += 1
        if time.monotonic() - told > TOLD_EVERY_SECONDS:
            told = time.monotonic()
            print(f"{num_done} of {len(missing)} answers", flush=True)

    async with asyncio.TaskGroup() as group:
        for task, column in missing:
            group.create_task(one(task, column))


def systems_of(paths: Sequence[Path], *, with_base: bool) -> list[System]:
    """Each adapter by its folder and, where a card lies beside it, how it was trained to read."""
    found = [System(BASE)] if with_base or not paths else []
    for path in paths:
        card = path.parent / "card.json"
        told = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
        layout = layout_named(told.get("fact_layout") if isinstance(told, dict) else None)
        found.append(System(f"{path.parent.name}/{path.name} (trained {layout})", adapter_at(path), layout))
    if len({system.name for system in found}) < len(found):
        raise SystemExit("Two adapters have one name; put them in folders of different names.")
    return found


def report(base: str, tasks: Sequence[Task], columns: Sequence[Column], answers: Answers, instructions: str) -> str:
    right = {column.name: answers.right(column, tasks) for column in columns}
    untuned = right.get(Column(System(BASE), "exact").name)
    lines = [
        f"# Answers that contain the right words, by how sources are read ({base})",
        "",
        f"{len(tasks)} questions with {len(tasks[0].paragraphs)} paragraphs each. Differences in points.",
        "",
        "| system | mode | contained, % | against exact | against the base in one piece |",
        "|---|---|---|---|---|",
    ]
    for column in columns:
        own, exact = right[column.name], right.get(Column(column.system, "exact").name)
        share = mean(own)
        assert share is not None
        shown = f"{100 * share.value:.1f} ({100 * share.low:.1f} to {100 * share.high:.1f})"
        apart = _apart(own, exact) if column.mode != "exact" else "-"
        from_base = "-" if own is untuned else _apart(own, untuned)
        lines.append(f"| {column.system.name} | {column.mode} | {shown} | {apart} | {from_base} |")
    note = f'Greedy; instructions: "{instructions}". Whole words, without case, punctuation and source numbers.'
    return "\n".join([*lines, "", note, "", conditions(), ""])


def shares(tasks: Sequence[Task], columns: Sequence[Column], answers: Answers) -> list[dict[str, object]]:
    """For the plot of `benchmarks.bench`: from 0 to 1."""
    found = []
    for column in columns:
        share = mean(answers.right(column, tasks))
        assert share is not None
        row = {"name": column.system.name, "mode": column.mode, "num": len(tasks)}
        found.append({**row, "share": share.value, "low": share.low, "high": share.high})
    return found


def _apart(first: Sequence[float], second: Sequence[float] | None) -> str:
    found = paired_difference(first, second) if second is not None else None
    return _points(found) if found else "-"


def _points(found: Difference) -> str:
    return f"{100 * found.value:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def chosen_tasks(arguments: argparse.Namespace) -> list[Task]:
    """Spread over all articles, always the same ones."""
    tasks = list(tasks_of(read_articles(arguments.questions), arguments.paragraphs))
    if not tasks:
        raise SystemExit(f"{arguments.questions} has no articles with {arguments.paragraphs} paragraphs.")
    places = sorted(random.Random(SEED).sample(range(len(tasks)), min(arguments.limit, len(tasks))))
    return [tasks[place] for place in places]


async def measure(arguments: argparse.Namespace) -> str:
    settings = load_settings()
    base, tasks = resolve_base(settings), chosen_tasks(arguments)
    systems = systems_of(arguments.adapter, with_base=not arguments.no_base)
    modes = {system: [system.trained] if arguments.as_trained else arguments.modes for system in systems}
    columns = [Column(system, mode) for system in systems for mode in FACT_LAYOUTS if mode in modes[system]]
    asked = {
        "base": base.sha256,
        "systems": [[system.name, system.adapter.sha256 if system.adapter else ""] for system in systems],
        "instructions": arguments.instructions,
        "max_tokens": arguments.max_tokens,
        "paragraphs": arguments.paragraphs,
    }
    answers = Answers(asked, arguments.details)
    answers.open()
    vocabulary = Vocabulary.open(base.path)
    queued = settings.engine.model_copy(update={"request_timeout_seconds": 3_600.0})
    engine = await started(settings.model_copy(update={"engine": queued}), "blocks", None)
    try:
        asker = Asker(engine, vocabulary, turn_format_of(vocabulary), arguments.instructions, arguments.max_tokens)
        await ask_all(asker, tasks, columns, answers, arguments.streams)
    finally:
        await engine.stop()
    if arguments.save:
        rows = shares(tasks, columns, answers)
        (RESULTS / "quality-by-mode.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return report(base.name, tasks, columns, answers, arguments.instructions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--questions", type=Path, required=True, help="SQuAD's format, or a folder that holds xquad")
    parser.add_argument("--adapter", type=Path, action="append", default=[], help="GGUF LoRA; may be repeated")
    parser.add_argument("--no-base", action="store_true", help="ask the adapters only")
    parser.add_argument("--modes", nargs="+", choices=FACT_LAYOUTS, default=FACT_LAYOUTS)
    parser.add_argument("--as-trained", action="store_true", help="each adapter in its own mode, the base in one piece")
    parser.add_argument("--limit", type=int, default=500, help="questions; fewer for a short run")
    parser.add_argument("--paragraphs", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=40)
    parser.add_argument(
        "--instructions", default=INSTRUCTIONS, help="a brand's words; those the adapter was trained with"
    )
    parser.add_argument("--streams", type=int, default=4, help="questions under way at a time")
    parser.add_argument("--details", type=Path, help="keep every answer here (JSONL), and go on from it")
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    text = asyncio.run(measure(arguments))
    print(text)
    if arguments.save:
        (RESULTS / "answers-by-mode.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
