"""Does rewriting a follow-up with the base find more than joining the last two questions?

    housevoice ingest DOCUMENTS --knowledge-base company           # the sample's documents, into --data
    python -m benchmarks.condense_followups --data DIR [--written FILE] [--save FILE]

Takes the follow-up rows of the sample pairs (a question once, though both brands ask it), and searches for the last
question alone, the last two joined, the last two with the answer between them, what the base wrote, and mixtures. A row
counts as found where one of its documents is among the first K candidates.
`--written` keeps what the base wrote, so that the searches can be repeated without it.
"""

import argparse
import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from config.environment import prepare_environment
from config.models import resolve_base
from config.prompt import Turn
from config.settings import SAMPLE, Settings, load_settings
from server.cli.connection import own_store
from server.cli.main import with_data_dir
from server.condense import Condenser, SearchQuery, join, stands_alone
from server.engine.client import EngineClient
from server.engine.vocabulary import Vocabulary
from server.lifecycle import turn_format_of
from server.prepare import Pair, read_pairs
from server.retrieval import Retriever

SPLITS = ("development", "heldout", "train")
DEPTHS = (1, 3, 10)


@dataclass(frozen=True)
class Row:
    split: str
    pair: Pair
    written: SearchQuery


def follow_ups() -> list[tuple[str, Pair]]:
    """Each conversation once."""
    found: dict[tuple[Turn, ...], tuple[str, Pair]] = {}
    for split in SPLITS:
        for brand in ("halden", "pipkin"):
            for pair in read_pairs(SAMPLE / "examples" / f"{brand}-pairs.jsonl", split):
                if pair.kind == "followup":
                    found.setdefault(pair.turns, (split, pair))
    return list(found.values())


async def write(settings: Settings, rows: list[tuple[str, Pair]]) -> list[Row]:
    """The base's rewriting of each, also where the rules would have skipped it."""
    base = resolve_base(settings)
    vocabulary = Vocabulary.open(base.path)
    engine = EngineClient(base.path, settings.engine.model_copy(update={"threads": 1}))
    chosen = settings.retrieval.model_copy(update={"condense": "auto", "condense_seconds": 600})
    condenser = Condenser(engine, vocabulary.encode, turn_format_of(vocabulary), chosen)
    await engine.start()
    try:
        return [
            Row(split, pair, await condenser.rewrite(pair.turns, str(k), "benchmark"))
            for k, (split, pair) in enumerate(rows)
        ]
    finally:
        await engine.stop()


def queries(row: Row) -> dict[str, str]:
    last, joined = row.pair.turns[-1].content, join(row.pair.turns).text
    auto = last if stands_alone(row.pair.turns) else row.written.text
    return {
        "last question alone": last,
        "last two questions joined": joined,
        "last two with the answer between": "\n".join(turn.content for turn in row.pair.turns[-3:]),
        "rewritten by the base": row.written.text,
        "rewritten, last question below": f"{row.written.text}\n{last}",
        "rewritten, both questions above": f"{joined}\n{row.written.text}",
        'condense = "auto"': auto,
    }


def ranks(rows: list[Row], retriever: Retriever) -> dict[str, list[int | None]]:
    """For each way the rank of the first candidate from one of the row's documents."""
    found: dict[str, list[int | None]] = {}
    for row in rows:
        for way, query in queries(row).items():
            candidates = retriever.retrieve(query, ("company",)).candidates
            hits = [item.fused_rank for item in candidates if item.document.path in row.pair.documents]
            found.setdefault(way, []).append(min(hits, default=None))
    return found


def table(rows: list[Row], found: dict[str, list[int | None]]) -> str:
    lines = ["| query | " + " | ".join(f"R@{depth}" for depth in DEPTHS) + " |", "|---|" + "---|" * len(DEPTHS)]
    for way, places in found.items():
        shares = [sum(rank is not None and rank <= depth for rank in places) / len(rows) for depth in DEPTHS]
        lines.append(f"| {way} | " + " | ".join(f"{share:.3f}" for share in shares) + " |")
    methods = [row.written.method for row in rows]
    num_alone = sum(stands_alone(row.pair.turns) for row in rows)
    seconds = sorted(row.written.seconds for row in rows)
    notes = [f"{len(rows)} rows. The base wrote something usable for {methods.count('condensed')}."]
    notes += [
        f"{num_alone} count as standing alone by the rules. Median {seconds[len(seconds) // 2]:.2f} s a rewriting."
    ]
    return "\n".join([*lines, "", *notes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="data directory with the sample's documents")
    parser.add_argument("--written", type=Path, help="JSON of what the base wrote; made where it does not exist")
    parser.add_argument("--save", type=Path, help="write the table there")
    arguments = parser.parse_args()
    prepare_environment()
    settings = with_data_dir(load_settings(), arguments.data)
    pairs = follow_ups()
    kept = arguments.written
    if kept and kept.exists():
        rows = [
            Row(split, pair, SearchQuery(**item))
            for (split, pair), item in zip(pairs, json.loads(kept.read_text()), strict=True)
        ]
    else:
        rows = asyncio.run(write(settings, pairs))
    if kept:
        written = [
            {"text": row.written.text, "method": row.written.method, "seconds": row.written.seconds} for row in rows
        ]
        kept.write_text(json.dumps(written, ensure_ascii=False, indent=1), encoding="utf-8")
    with own_store(settings, "benchmark") as store:
        result = table(rows, ranks(rows, Retriever(store, settings.retrieval)))
    print(result)
    if arguments.save:
        arguments.save.write_text(result + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
