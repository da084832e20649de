"""How well retrieval finds the right paragraph on public question sets, as `housevoice eval retrieval` measures it.

    python -m benchmarks.retrieval_quality --questions FOLDER [--work FOLDER] [--sweep] [--save]

FOLDER holds `xquad` and `clapnq` as published. Each paragraph becomes a text file, each set a folder and a knowledge
base, and all go through the product's own ingest; a second run finds them unchanged. `--sweep` also compares ways of
fusing, on the lists that were just searched; with `--cached`, on those of the run before, without any search.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.conditions import RESULTS, conditions
from benchmarks.fusion_sweep import Lists, lists_of, load_lists, save_lists, sweep
from benchmarks.question_sets import QuestionSet, read_sets
from config.settings import Settings, load_settings
from ingest.store import FactStore
from server.cli.connection import own_store
from server.cli.main import with_data_dir
from server.evaluation.evaluate import Evaluation, Subject, evaluate
from server.evaluation.judging import SYSTEMS
from server.evaluation.measures import MEASURES, Scores
from server.retrieval import Retriever

SWEPT = ("xquad-en", "clapnq")
TARGETS = {"xquad-en": {"R@1": 0.95, "R@5": 0.995}, "clapnq": {"R@1": 0.95, "R@5": 0.998}}


def run_sets(sets: Sequence[QuestionSet], settings: Settings, work: Path) -> dict[str, Evaluation]:
    with own_store(settings, "benchmark") as store:
        return {item.name: run_set(item, store, settings, work) for item in sets}


def run_set(item: QuestionSet, store: FactStore, settings: Settings, work: Path) -> Evaluation:
    folder = work / "documents" / item.name
    item.write(folder)
    report = store.ingest(folder, item.name)
    print(f"{item.name}: {report.summary}, {report.seconds:.0f} s; asking {len(item.questions)}", flush=True)
    retriever = Retriever(store, settings.retrieval)
    subject = Subject(Path(item.name), (item.name,), settings.retrieval.relevance_floor)
    retrieve = partial(retriever.retrieve, knowledge_bases=subject.knowledge_bases)
    found = evaluate(subject, item.questions, retrieve, store)
    save_lists(work / f"{item.name}.json", lists_of(found.judged))
    return found


def table(results: Mapping[str, Evaluation]) -> str:
    lines = [f"| set | system | {' | '.join(MEASURES)} |", f"|---|---|{'---|' * len(MEASURES)}"]
    for name, found in results.items():
        for system in SYSTEMS:
            values = [str(found.scores.values[f"{system}.{measure}"]) for measure in MEASURES]
            lines.append(f"| {name} | {system} | {' | '.join(values)} |")
    lines += [
        "",
        "| set | answerable, not | AUROC | refusal precision | recall | answerable refused | p50, p95, p99 ms |",
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for name, found in results.items():
        scores, latency = found.scores, found.scores.latency
        shares = [str(scores.values[f"refusal.{key}"] or "-") for key in ("auroc", "precision", "recall", "wrong")]
        counts = f"{scores.num_answerable}, {scores.num_unanswerable}"
        times = f"{latency.p50:.1f}, {latency.p95:.1f}, {latency.p99:.1f}"
        lines.append(f"| {name} | {counts} | {' | '.join(shares)} | {times} |")
    return "\n".join(lines)


def verdicts(results: Mapping[str, Evaluation]) -> str:
    """Whether the targets are met, and whether the served order is ever below a search alone."""
    lines = []
    for name, targets in TARGETS.items():
        scores = results[name].scores
        for measure, least in targets.items():
            served, dense, lexical = (_value(scores, f"{system}.{measure}") for system in SYSTEMS)
            is_met = "met" if served >= least else "missed"
            is_best = "not below" if served >= max(dense, lexical) else "BELOW"
            lines.append(
                f"- {name} {measure} {served:.4f}, target {least}: {is_met}; {is_best} the better search alone"
                f" ({max(dense, lexical):.4f})"
            )
    return "\n".join(lines)


def _value(scores: Scores, name: str) -> float:
    interval = scores.values[name]
    return interval.value if interval else 0.0


def header(settings: Settings) -> str:
    return (
        "# Retrieval on public question sets\n"
        f"{conditions()}\n"
        f"- embedder {settings.models.embedder}; relevance floor {settings.retrieval.relevance_floor}\n\n"
        "Each paragraph is a file named by a number, and documents are ranked by their best chunk. "
        "XQuAD's have no title; CLAPNQ's passages have those that they are published with, and none in "
        "clapnq-untitled. 95 % bootstrap intervals in brackets.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=Path, help="folder with xquad and clapnq")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "housevoice-retrieval-quality")
    parser.add_argument("--sets", nargs="*", help="only these")
    parser.add_argument("--sweep", action="store_true", help="compare ways of fusing")
    parser.add_argument("--cached", action="store_true", help="only the sweep, on the lists of the run before")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/retrieval-quality.md")
    arguments = parser.parse_args()
    if not arguments.cached and arguments.questions is None:
        parser.error("--questions FOLDER, or --cached")
    settings = with_data_dir(load_settings(), arguments.work / "data")
    parts = [header(settings)]
    if not arguments.cached:
        chosen = [item for item in read_sets(arguments.questions) if item.name in (arguments.sets or [item.name])]
        results = run_sets(chosen, settings, arguments.work)
        parts += [table(results), ""]
        if set(TARGETS) <= set(results):
            parts += [verdicts(results), ""]
    if arguments.sweep or arguments.cached:
        lists: dict[str, list[Lists]] = {name: load_lists(arguments.work / f"{name}.json") for name in SWEPT}
        parts += ["## Ways of fusing", sweep(lists, settings.retrieval), ""]
    text = "\n".join(parts)
    print(text)
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "retrieval-quality.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
