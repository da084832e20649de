"""How often does the evidence reach the model, and at what length, under different ways of packing?

    python -m benchmarks.packing_recall --data DIR [--save]

Asks the answerable training and development pairs of the sample company (a question once) of a data directory that
holds its documents, searches once for each, and packs the same candidates under each setting. A question counts where
one source from one of its documents holds all of its evidence.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.conditions import RESULTS, conditions
from config.environment import prepare_environment
from config.settings import SAMPLE, RetrievalSettings, load_settings
from ingest.access.reader import ADMIN
from ingest.documents import Chunk
from ingest.store import FactStore
from server.answer import query_of
from server.candidates import Candidate, RetrievedSource
from server.cli.connection import own_store
from server.cli.main import with_data_dir
from server.packing import expand_sources, pack_sources
from server.prepare import Pair, read_pairs
from server.retrieval import Retriever

SETTINGS: dict[str, dict[str, object]] = {
    "as shipped": {},
    "2 chunks of a document": {"max_chunks_per_document": 2},
    "3 chunks of a document": {"max_chunks_per_document": 3},
    "1 chunk of a document": {"max_chunks_per_document": 1},
    "equal texts only are duplicates": {"duplicate_similarity": 1.0},
    "duplicates from 0.6": {"duplicate_similarity": 0.6},
    "neighbours brought in": {"expand_neighbours": True},
    "neighbours brought in, 1 chunk found": {"expand_neighbours": True, "max_chunks": 1},
    "neighbours brought in, 2 chunks found": {"expand_neighbours": True, "max_chunks": 2},
    "2 chunks found": {"max_chunks": 2},
    "1 chunk found": {"max_chunks": 1},
}


@dataclass(frozen=True)
class Asked:
    pair: Pair
    candidates: tuple[Candidate, ...]
    best_similarity: float
    beside: tuple[Chunk, ...]


def pairs() -> list[Pair]:
    found: dict[str, Pair] = {}
    for split in ("train", "development"):
        for brand in ("halden", "pipkin"):
            for pair in read_pairs(SAMPLE / "examples" / f"{brand}-pairs.jsonl", split):
                if pair.documents:
                    found.setdefault(query_of(pair.turns), pair)
    return list(found.values())


def ask(store: FactStore, retriever: Retriever, pair: Pair) -> Asked:
    found = retriever.retrieve(query_of(pair.turns), ("company",), ADMIN)
    first = [item.chunk for item in found.candidates[:10]]
    return Asked(pair, found.candidates, found.best_similarity, tuple(store.chunks_beside(first, ADMIN)) + tuple(first))


def pack(asked: Asked, settings: RetrievalSettings) -> tuple[RetrievedSource, ...]:
    packed = pack_sources(asked.candidates, asked.best_similarity, settings)
    if settings.expand_neighbours:
        packed = expand_sources(packed, asked.beside, settings)
    return packed.sources


def holds(pair: Pair, source: RetrievedSource) -> bool:
    flat = " ".join(f"{source.heading} {source.text}".split()).lower()
    return source.document.path in pair.documents and all(
        " ".join(part.split()).lower() in flat for part in pair.evidence
    )


def table(asked: Sequence[Asked], shipped: RetrievalSettings) -> str:
    lines = ["| packing | evidence in a source | in the first | tokens |", "|---|---|---|---|"]
    for name, changes in SETTINGS.items():
        packed = [pack(item, shipped.model_copy(update=changes)) for item in asked]
        hits = [[holds(item.pair, s) for s in sources] for item, sources in zip(asked, packed, strict=True)]
        share = sum(any(row) for row in hits) / len(asked)
        first = sum(any(row[:1]) for row in hits) / len(asked)
        tokens = sum(source.num_tokens for sources in packed for source in sources) / len(asked)
        lines.append(f"| {name} | {share:.3f} | {first:.3f} | {tokens:.0f} |")
    return "\n".join([*lines, "", f"{len(asked)} questions."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="data directory with the sample's documents")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/packing-recall.md")
    arguments = parser.parse_args()
    prepare_environment()
    settings = with_data_dir(load_settings(), arguments.data)
    with own_store(settings, "benchmark") as store:
        retriever = Retriever(store, settings.retrieval)
        asked = [ask(store, retriever, pair) for pair in pairs()]
    text = (
        f"# Packing: how often the evidence reaches the model\n{conditions()}\n\n{table(asked, settings.retrieval)}\n"
    )
    print(text)
    if arguments.save:
        (RESULTS / "packing-recall.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
