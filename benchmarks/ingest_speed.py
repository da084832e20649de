"""Ingest against LlamaIndex and LangChain: same texts, same embedder, same chunk size, same Chroma, in turns.

    python -m venv PEERS; PEERS/bin/pip install -r benchmarks/peers/requirements.txt
    python -m benchmarks.ingest_speed --documents FOLDER --questions FOLDER --peers PEERS [--rounds 3] [--save]

--documents: Markdown and text; only these are taken, as the peers read no more without further packages. --questions
holds `xquad` and `clapnq`: the paragraphs of XQuAD join as text files. Every run is a process of its own with an empty
index; time counts from the loaded embedder to the last write. Ours also splits by structure, keeps locations, writes
the word index and the catalog, and parses in limited workers. All use all cores.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.conditions import RESULTS, conditions
from benchmarks.own_process import Row, run_apart
from benchmarks.question_sets import read_sets
from config.models import INT8, resolve_embedder
from config.settings import Settings, load_settings
from server.cli.main import with_data_dir

PEERS = Path(__file__).parent / "peers"
KINDS = (".md", ".txt")


def gather(documents: Path, questions: Path, target: Path) -> int:
    """One folder with all texts. Returns how many."""
    shutil.rmtree(target, ignore_errors=True)
    for file in sorted(documents.rglob("*")):
        if file.suffix.lower() in KINDS and file.is_file():
            place = target / "documents" / file.relative_to(documents)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
    for item in read_sets(questions):
        if item.name == "xquad-en":
            item.write(target / item.name)
    return sum(1 for file in target.rglob("*") if file.is_file())


def own_settings(*, is_int8: bool) -> Settings:
    """All cores, as the peers take them by default."""
    settings = load_settings()
    embedder = f"{INT8 if is_int8 else ''}{settings.models.embedder}"
    ingest = settings.ingest.model_copy(update={"embed_threads": os.cpu_count() or 1})
    models = settings.models.model_copy(update={"embedder": embedder})
    return settings.model_copy(update={"ingest": ingest, "models": models})


def ours(folder: Path, work: Path, settings: Settings) -> Row:
    """In this process, which does nothing else: `--one` calls it."""
    from server.cli.connection import own_store

    with own_store(with_data_dir(settings, work), "benchmark") as store:
        store.parts.embedder.embed(["warm"])
        started = time.perf_counter()
        report = store.ingest(folder, "kb")
        seconds = time.perf_counter() - started
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        started = time.perf_counter()
        again = store.ingest(folder, "kb")
        again_seconds = time.perf_counter() - started
        texts = bare_texts(store)
        started = time.perf_counter()
        store.parts.embedder.embed(texts)
        embed_seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "chunks": report.num_chunks,
        "peak_bytes": peak_bytes,
        "again_seconds": again_seconds,
        "again": again.summary,
        "failures": len(report.failures),
        "embed_seconds": embed_seconds,
    }


def bare_texts(store: Any) -> list[str]:
    """What was embedded, for the bare model's throughput on it."""
    from ingest.chunk import embedding_text

    catalog, sizes = store.parts.catalog, store.parts.pipeline.sizes
    documents = {item.document_id: item for item in store.documents()}
    return [
        embedding_text(documents[chunk.document_id].title, chunk.heading_path, chunk.text, sizes)
        for chunk in catalog.chunks_of(list(documents))
    ]


def measure(arguments: argparse.Namespace, work: Path) -> dict[str, list[Row]]:
    settings = load_settings()
    embedder = str(resolve_embedder(settings))
    python = str(arguments.peers / "bin" / "python")
    size = str(settings.ingest.chunk_tokens)
    own = [sys.executable, "-m", "benchmarks.ingest_speed"]
    systems = {
        "housevoice": [*own, "--one"],
        "housevoice int8": [*own, "--int8", "--one"],
        "LlamaIndex": [python, str(PEERS / "llamaindex_ingest.py")],
        "LangChain": [python, str(PEERS / "langchain_ingest.py")],
    }
    rows: dict[str, list[Row]] = {name: [] for name in systems}
    for number in range(arguments.rounds):
        for name, command in systems.items():
            place = work / f"{name}-{number}"
            shutil.rmtree(place, ignore_errors=True)
            rows[name].append(
                run_apart([*command, str(work / "texts"), embedder, size, str(place)], tokenizer_threads=True)
            )
            print(name, rows[name][-1], flush=True)
            shutil.rmtree(place, ignore_errors=True)
    return rows


def report(rows: dict[str, list[Row]], num_documents: int) -> str:
    lines = [
        f"# Ingest of {num_documents} documents against LlamaIndex and LangChain",
        "",
        "| system | documents/s | chunks | chunks/s | seconds | peak memory MB |",
        "|---|---|---|---|---|---|",
    ]
    speed: dict[str, float] = {}
    for name, runs in rows.items():
        seconds = statistics.median(run["seconds"] for run in runs)
        speed[name] = num_documents / seconds
        chunks, peak = runs[0]["chunks"], max(run["peak_bytes"] for run in runs) / 1e6
        lines.append(f"| {name} | {speed[name]:.1f} | {chunks} | {chunks / seconds:.1f} | {seconds:.1f} | {peak:.0f} |")
    fastest = max(value for name, value in speed.items() if not name.startswith("housevoice"))
    for name in ("housevoice", "housevoice int8"):
        own = rows[name]
        bare = statistics.median(run["embed_seconds"] for run in own)
        whole = statistics.median(run["seconds"] for run in own)
        lines += [
            "",
            f"{name}: **{speed[name] / fastest:.2f}** times the documents/s of the faster peer;"
            f" **{bare / whole:.2f}** of the bare embedder's throughput on the same texts in one call;"
            f" a second run: {own[0]['again']} in {statistics.median(run['again_seconds'] for run in own):.2f} s.",
        ]
    lines += [
        "",
        f"{len(rows['housevoice'])} rounds in turns, medians; peak memory is without our parse workers.",
        "",
        conditions(),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=Path)
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--int8", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=4, metavar=("FOLDER", "EMBEDDER", "TOKENS", "WORK"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        settings = own_settings(is_int8=arguments.int8)
        print(json.dumps(ours(Path(arguments.one[0]), Path(arguments.one[3]), settings)))
        return
    if not (arguments.documents and arguments.questions and arguments.peers):
        parser.error("--documents, --questions and --peers are needed")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        num_documents = gather(arguments.documents, arguments.questions, work / "texts")
        text = report(measure(arguments, work), num_documents)
    print(text)
    if arguments.save:
        (RESULTS / "ingest-speed.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
