"""Chat, ingest, deletion, renaming, crashes and damaged files under a small fact cache: is any answer a wrong hit?

    python -m benchmarks.fact_churn [--minutes 30] [--save]

A server on the default base reads sources as blocks and may keep a fraction of them. Documents are changed, removed,
renamed and added all the time, some while questions are under way; now and then the server is killed or stopped, and a
file of its cache damaged. Each answer over the HTTP API, by four brands and the base, is compared with what an engine
of its own says to the prompt made from the documents as they are at that moment, with nothing cached.

Kernels round differently where cells lie elsewhere, so two right answers may part where two tokens are nearly equal.
How far a wrong hit would have moved an answer is measured beside it: the same question with one of its sources replaced
by another one. Distances are in nats: the largest difference of a common token's log-probability, or how much less
likely the reference held our token where the two part.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.conditions import RESULTS, conditions
from benchmarks.fact_churn.shelf import NUM_DOCUMENTS, Shelf
from benchmarks.fact_churn.world import BUDGETS, Findings, World
from benchmarks.ttft_modes import started
from config.environment import prepare_environment
from config.models import resolve_base
from config.settings import load_settings
from server.engine.client import EngineClient
from server.engine.storage import EngineStorage

MOST_TOGETHER = 3
WEIGHTS = {"ask": 60, "change": 12, "remove": 6, "add": 6, "rename": 6, "damage": 5, "stop": 3, "kill": 2}
"""How often each thing happens; an ingest follows what alters documents, and every second one runs beside questions."""


async def churn(world: World, reference: EngineClient, chance: random.Random, minutes: float) -> None:
    """Until the time is over. Every thing that happens is followed by a look at the budgets."""
    await world.ingest()
    await world.give_adapters()
    ends_at = time.monotonic() + 60 * minutes
    while time.monotonic() < ends_at:
        (what,) = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        world.found.happened[what] += 1
        count = chance.randint(1, MOST_TOGETHER)
        if what == "ask":
            await world.check(reference, world.questions(count))
        elif what == "damage":
            world.damage()
        elif what in ("stop", "kill"):
            world.stop(is_killed=what == "kill")
            world.start()
        else:
            touched = _alter(world.shelf, what)
            beside = world.questions(count, touched) if chance.random() < 0.5 else []
            await asyncio.gather(world.ingest(), world.check(reference, beside))
        world.look()
        num = len(world.found.distances)
        if num and num % 20 == 0:
            print(f"{num} answers, largest distance {max(world.found.distances):.3f}", flush=True)


def _alter(shelf: Shelf, what: str) -> set[str]:
    """Returns the paths that are not to be asked about until it was ingested."""
    return {"change": shelf.change, "remove": shelf.remove, "add": shelf.add, "rename": shelf.rename}[what]()


def report(found: Findings, minutes: float) -> str:
    worst, middle = max(found.distances), statistics.median(found.distances)
    beyond = sum(control > worst for control in found.controls)
    settled = found.engine_bytes[len(found.engine_bytes) // 4 :]
    budget = {"memory": BUDGETS["FACT_MEMORY_BYTES"], "disk": BUDGETS["FACT_DISK_BYTES"]}
    budget["folder"] = budget["disk"]
    sizes = [f"| most bytes, {name} | {size:,} of {budget[name]:,} |" for name, size in found.most_bytes.items()]
    return "\n".join(
        [
            f"# The fact cache under churn ({minutes:g} minutes)",
            "",
            str((__doc__ or "").partition("--save]\n\n")[2]).strip(),
            "",
            "| | |",
            "|---|---|",
            f"| what happened | {', '.join(f'{name} {count}' for name, count in found.happened.most_common())} |",
            f"| answers compared | {len(found.distances)} |",
            f"| of these equal to the token | {found.num_equal} |",
            f"| distance from the reference, median and largest | {middle:.4f}, {worst:.3f} nats |",
            f"| the same with one wrong source, median of {len(found.controls)} | "
            f"{statistics.median(found.controls):.3f} nats |",
            f"| wrong sources that were farther off than the farthest answer | {beyond} of {len(found.controls)} |",
            f"| blocks by where they came from | {', '.join(f'{k} {v}' for k, v in found.levels.items())} |",
            *sizes,
            f"| engine process, from a quarter on | {min(settled) / 1e6:.0f} to {max(settled) / 1e6:.0f} MB |",
            "",
            conditions(),
            "",
        ]
    )


async def _reference(folder: Path) -> EngineClient:
    """On the same weights as the server, with nothing kept on disk."""
    settings = load_settings()
    engine = settings.engine.model_copy(update={"fact_disk_bytes": 0})
    storage = EngineStorage(folder / "facts", resolve_base(settings).sha256, weights=folder / "copies")
    return await started(settings.model_copy(update={"engine": engine}), "blocks", storage)


async def measure(minutes: float, seed: int) -> str:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as cold:
        reference = await _reference(Path(cold))
        world = World(Path(name), chance, NUM_DOCUMENTS + round(60 * minutes))
        world.start()
        try:
            await churn(world, reference, chance, minutes)
        except SystemExit:
            print(report(world.found, minutes))
            raise
        finally:
            world.stop()
            await reference.stop()
    return report(world.found, minutes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    prepare_environment()
    text = asyncio.run(measure(arguments.minutes, arguments.seed))
    print(text)
    if arguments.save:
        (RESULTS / "fact-churn.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
