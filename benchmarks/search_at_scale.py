"""Search in a large index: dense and lexical together, and how much of exact search the graph of vectors finds.

    python -m benchmarks.search_at_scale --questions FOLDER [--chunks 100000] [--work FOLDER] [--busy] [--save]

--questions holds `xquad` and `clapnq`. Their paragraphs are chunked and embedded once; each of the many chunks is a new
mixture of sentences of two neighbouring real ones, with the mixture of their vectors, moved a little. Documents, words
and vectors are written by the product's own writer, and the questions of XQuAD are asked through its own store, each
question embedded anew. --busy: measured again while another process of the same machine generates answers without end.
"""

import argparse
import itertools
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.conditions import RESULTS, conditions
from benchmarks.question_sets import read_sets
from config.environment import prepare_environment
from config.models import resolve_base, resolve_embedder
from config.settings import Settings, load_settings
from ingest.catalog import Entry, FileState
from ingest.chunk import chunk_document, embedding_text
from ingest.documents import Block, Chunk, Document, Embedder, ParsedDocument, Vectors
from ingest.store import FactStore
from ingest.writer import Prepared
from server.cli.main import with_data_dir

CHUNKS_A_DOCUMENT = 20
GROUP_DOCUMENTS = 50
NOISE = 0.25
"""Length of the random vector that is added to each mixture of unit vectors."""

TOP = 10
SENTENCE = re.compile(r"(?<=[.!?])\s+")


@dataclass
class Mixtures:
    """`Embedder`: texts that were made here have the vectors that they were made with, all others the real model's."""

    real: Embedder
    known: dict[str, Vectors] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.identity, self.dimensions = f"mixtures of {self.real.identity}", self.real.dimensions
        self.max_tokens = self.real.max_tokens

    def embed(self, texts: list[str]) -> Vectors:
        return np.vstack([self.known[text] for text in texts]) if self.known else self.real.embed(texts)

    def count_tokens(self, text: str) -> int:
        return self.real.count_tokens(text)


def real_chunks(questions: Path, store: FactStore) -> list[str]:
    sizes = store.parts.pipeline.sizes
    texts = [
        text
        for item in read_sets(questions)
        if item.name in ("xquad-en", "clapnq-untitled")
        for text in item.documents.values()
    ]
    parsed = [ParsedDocument("", (Block(text, (), ""),), "text/plain") for text in texts]
    return [draft.text for document in parsed for draft in chunk_document(document, sizes)]


def mixtures(texts: list[str], vectors: Vectors, count: int, seed: int) -> Iterator[tuple[str, Vectors]]:
    chance, noise = random.Random(seed), np.random.Generator(np.random.PCG64(seed))
    nearest = np.argsort(-(vectors @ vectors.T), axis=1)[:, 1:9]
    for number in range(count):
        first = chance.randrange(len(texts))
        second = int(nearest[first, chance.randrange(8)])
        sentences = [*SENTENCE.split(texts[first]), *SENTENCE.split(texts[second])]
        text = " ".join(chance.sample(sentences, max(1, len(sentences) // 2)))
        vector = vectors[first] + vectors[second]
        moved = vector / np.linalg.norm(vector) + NOISE * _direction(noise, vectors.shape[1])
        yield f"{text} ({number})", (moved / np.linalg.norm(moved)).astype(np.float32)


def _direction(noise: np.random.Generator, dimensions: int) -> Vectors:
    vector = noise.standard_normal(dimensions)
    direction: Vectors = (vector / np.linalg.norm(vector)).astype(np.float32)
    return direction


def fill(store: FactStore, embedder: Mixtures, rows: Iterator[tuple[str, Vectors]]) -> None:
    """Documents of several chunks each, through the writer."""
    pipeline, access = store.parts.pipeline, store.parts.access
    documents = iter(lambda: list(itertools.islice(rows, CHUNKS_A_DOCUMENT)), [])
    numbered = enumerate(documents)
    while group := list(itertools.islice(numbered, GROUP_DOCUMENTS)):
        embedder.known = {
            embedding_text("", (), text, pipeline.sizes): vector for _, part in group for text, vector in part
        }
        batch = []
        for number, part in group:
            name = f"d{number}"
            chunks = tuple(
                Chunk(f"{name}-{ordinal}", name, ordinal, text, (), "", len(text.split()))
                for ordinal, (text, _) in enumerate(part)
            )
            document = Document(name, "kb", f"{name}.txt", "", "text/plain", name, len(chunks), 0, 0)
            entry = Entry(document, FileState("/", f"{name}.txt", 0, 0), pipeline.recipe)
            batch.append(Prepared(entry, chunks, access.kept(name, document.path, "kb")))
        store.parts.writer.write(batch, pipeline.sizes)
    embedder.known = {}


def exact(store: FactStore, queries: Vectors) -> list[set[str]]:
    ids = store.parts.vectors.ids()
    found = store.parts.vectors.fetch(ids)
    matrix = np.vstack([found[key] for key in ids])
    return [{ids[index] for index in np.argpartition(-(matrix @ query), TOP)[:TOP]} for query in queries]


@dataclass(frozen=True)
class Times:
    """Milliseconds a question."""

    dense: list[float]
    lexical: list[float]
    both: list[float]

    def row(self, name: str) -> str:
        cells = []
        for values in (self.both, self.dense, self.lexical):
            cuts = statistics.quantiles(values, n=100)
            cells.append(f"{cuts[49]:.1f}, {cuts[94]:.1f}, {cuts[98]:.1f}")
        return f"| {name} | {' | '.join(cells)} |"


def ask(store: FactStore, questions: list[str]) -> tuple[Times, list[set[str]]]:
    limit = load_settings().retrieval.candidates
    times, found = Times([], [], []), []
    for question in questions:
        started = time.perf_counter()
        dense = store.search_dense(question, ("kb",), limit)
        between = time.perf_counter()
        store.search_lexical(question, ("kb",), limit)
        ended = time.perf_counter()
        store.search_both(question, ("kb",), limit)
        times.dense.append((between - started) * 1e3)
        times.lexical.append((ended - between) * 1e3)
        times.both.append((time.perf_counter() - ended) * 1e3)
        found.append({hit.chunk_id for hit in dense[:TOP]})
    return times, found


def measure(arguments: argparse.Namespace, settings: Settings, work: Path) -> str:
    from ingest.embed import load_embedder
    from server.engine.vocabulary import Vocabulary

    real = load_embedder(resolve_embedder(settings), settings.ingest.embed_threads, settings.ingest.embed_batch)
    embedder = Mixtures(real)
    count: Callable[[str], int] = Vocabulary.open(resolve_base(settings).path).count
    store = FactStore.open(with_data_dir(settings, work / "data").data, settings.ingest, embedder, count)
    questions = [q.text for item in read_sets(arguments.questions) if item.name == "xquad-en" for q in item.questions]
    started = time.monotonic()
    if store.parts.catalog.count_chunks() < arguments.chunks:
        texts = real_chunks(arguments.questions, store)
        vectors = real.embed(texts)
        fill(store, embedder, mixtures(texts, vectors, arguments.chunks, 1))
    filled = time.monotonic() - started
    ask(store, questions[:50])
    times, found = ask(store, questions)
    wanted = exact(store, np.vstack([real.embed([question]) for question in questions]))
    recall = statistics.mean(len(have & want) / TOP for have, want in zip(found, wanted, strict=True))
    rows = [times.row("engine idle")]
    if arguments.busy:
        with subprocess.Popen([sys.executable, "-m", "benchmarks.search_at_scale", "--generate"]) as engine:
            time.sleep(15)
            rows.append(ask(store, questions)[0].row("engine busy"))
            engine.kill()
    total = store.parts.catalog.count_chunks()
    store.close()
    return "\n".join(
        [
            f"# Search among {total} chunks",
            "",
            f"{len(questions)} questions one after another, each embedded anew; p50, p95, p99 in milliseconds.",
            "",
            "| | dense and lexical side by side, as served | dense | lexical |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Of the {TOP} nearest chunks by exact search, dense search finds **{recall:.4f}**.",
            f"Filling the index took {filled:.0f} s (0 where it lay there already).",
            "",
            conditions(),
            "",
        ]
    )


def generate() -> None:
    """Four streams without end, as the server's engine would decode them; until killed."""
    import asyncio

    from server.engine.messages import GenerateRequest, Sampling

    async def run() -> None:
        from server.engine.client import EngineClient

        settings = load_settings()
        engine = EngineClient(resolve_base(settings).path, settings.engine)
        await engine.start()

        async def stream(number: int) -> None:
            for turn in itertools.count():
                request = GenerateRequest(
                    f"{number}-{turn}", tuple(range(100 + number, 900 + number)), max_tokens=200, sampling=Sampling()
                )
                async for _ in engine.generate(request):
                    pass

        await asyncio.gather(*(stream(number) for number in range(4)))

    asyncio.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--work", type=Path, help="keep the index here; a second run finds it")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--generate", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    prepare_environment()
    if arguments.generate:
        generate()
        return
    if arguments.questions is None:
        parser.error("--questions FOLDER is needed")
    with tempfile.TemporaryDirectory() as folder:
        text = measure(arguments, load_settings(), arguments.work or Path(folder))
    print(text)
    if arguments.save:
        (RESULTS / "search-at-scale.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
