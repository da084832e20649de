"""How long the engine takes from its start to its first answer: the first time on a machine, and every later time.

    python -m benchmarks.engine_start [--rounds 5] [--save]

The default base in a process of its own, as the server starts it: library, model, context, the check of the fact cache
where sources are read as blocks, and what is made once for each model and machine: the copy of its weights in eight
bits and the table of step times.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.conditions import RESULTS, conditions
from config.environment import prepare_environment
from config.fact_layout import FACT_LAYOUTS
from config.models import resolve_base
from config.settings import load_settings
from server.engine.client import EngineClient
from server.engine.messages import FailedEvent, GenerateRequest
from server.engine.storage import EngineStorage
from server.engine.vocabulary import Vocabulary


async def start_once(layout: str, folder: Path) -> tuple[float, float]:
    """Seconds until it is ready, and until it has answered with a token."""
    settings = load_settings()
    base = resolve_base(settings)
    section = settings.engine.model_copy(update={"fact_layout": layout})
    storage = EngineStorage(folder / "factcache", base.sha256, folder / "step-times.json", folder / "copies")
    engine = EngineClient(base.path, section, storage)
    tokens = tuple(Vocabulary.open(base.path).encode("Good morning", is_template=False))
    begin = time.perf_counter()
    await engine.start()
    ready = time.perf_counter() - begin
    try:
        async for event in engine.generate(GenerateRequest("first", tokens, 1)):
            if isinstance(event, FailedEvent):
                raise SystemExit(f"The engine did not answer: {event.message}")
        return ready, time.perf_counter() - begin
    finally:
        await engine.stop()


async def measure(rounds: int) -> str:
    rows = []
    for layout in FACT_LAYOUTS:
        with tempfile.TemporaryDirectory() as name:
            times = [await start_once(layout, Path(name)) for _ in range(rounds + 1)]
        for title, group in (("the first time", times[:1]), ("later, median", times[1:])):
            ready, answered = (statistics.median(part) for part in zip(*group, strict=True))
            rows.append(f"| {layout} | {title} | {len(group)} | {ready:.2f} | {answered:.2f} |")
    name = resolve_base(load_settings()).name
    head = ["| sources read | start | n | ready, s | first answer, s |", "|---|---|---|---|---|"]
    return "\n".join([f"# Start of the engine ({name})", "", *head, *rows, "", conditions(), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="starts after the first one")
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    prepare_environment()
    text = asyncio.run(measure(arguments.rounds))
    print(text)
    if arguments.save:
        (RESULTS / "engine-start.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
