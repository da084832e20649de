"""Can unanswerable questions be told before generation better than by the relevance floor?

    python -m benchmarks.fit_answerability --questions FOLDER --work FOLDER [--rows FILE] [--save]

Fits logistic models of what retrieval knows and compares each with the cosine of the best chunk, which is what
`retrieval.relevance_floor` looks at. Fitted on XQuAD (each question as it is, and as an unanswerable one with its own
paragraph left out) and on the sample company's training pairs, each set and answer weighing the same; tested on
CLAPNQ, whose unanswerable questions are people's own, and on the sample's development pairs.

FOLDER holds `xquad` and `clapnq` as published. --work: a folder with documents and index, as `retrieval_quality` makes
it. --rows keeps the features, so that fitting can be repeated alone.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.answerability import (
    Evidence,
    Numbers,
    Truth,
    evidence_of,
    gain,
    refused_below,
    stems,
    threshold_for,
    word_weights,
)
from benchmarks.conditions import RESULTS, conditions
from benchmarks.question_sets import read_sets
from config.environment import prepare_environment
from config.settings import SAMPLE, RetrievalSettings, Settings, load_settings
from ingest.documents import Chunk
from ingest.filters import UNRESTRICTED, SearchScope
from ingest.store import FactStore
from server.answer import query_of
from server.cli.connection import own_store
from server.cli.main import with_data_dir
from server.evaluation.measures import auroc
from server.prepare import read_pairs
from server.retrieval import fuse

SETS = ("xquad-en", "clapnq", "clapnq-untitled")
FITTED = ("xquad-en", "sample-train")
TESTED = ("clapnq", "clapnq-untitled", "sample-development")
FLOOR = ("similarity",)
MODELS: tuple[tuple[str, ...], ...] = (
    ("similarity", "margin"),
    ("similarity", "coverage"),
    ("similarity", "margin", "coverage"),
    ("similarity", "margin", "coverage", "agreement"),
)
FAR_OFF = "far off"
"""A set of questions that no company's documents answer, which a floor should stop. All unanswerable."""

FAR_OFF_QUESTIONS = (
    "Can I book a table at the opera?",
    "What is the capital of France?",
    "Who won the world cup in 2018?",
    "How do I bake sourdough bread?",
    "Write me a poem about autumn",
    "What's the weather tomorrow?",
    "How do I reset my iPhone?",
    "Is Bitcoin a good investment?",
    "Can you help me with my maths homework?",
    "What time does the cinema open?",
    "Who is the president of the United States?",
    "How tall is Mount Everest?",
    "Tell me a joke",
    "Which dog breed is best for families?",
    "How do I get a divorce?",
    "What is photosynthesis?",
    "Where can I buy concert tickets?",
    "Translate hello to Spanish",
    "What is the best pizza in Rome?",
    "How do I fix a flat bicycle tyre?",
)
FLOORS = (0.28, 0.3, 0.33, 0.36)
WRONG = (0.01, 0.02, 0.05)


@dataclass(frozen=True)
class Asked:
    """hidden: path of the document that is left out, which makes the question unanswerable."""

    part: str
    knowledge_base: str
    text: str
    is_answerable: bool
    hidden: str = ""


@dataclass(frozen=True)
class Row:
    part: str
    is_answerable: bool
    evidence: Evidence


def sample_questions() -> list[Asked]:
    """Each once, though both brands ask it; a follow-up as the server asks it."""
    found: dict[tuple[str, str], Asked] = {}
    for split in ("train", "development"):
        for brand in ("halden", "pipkin"):
            for pair in read_pairs(SAMPLE / "examples" / f"{brand}-pairs.jsonl", split):
                text = query_of(pair.turns)
                found.setdefault((split, text), Asked(f"sample-{split}", "company", text, bool(pair.documents)))
    return list(found.values())


def make_rows(questions: Path, work: Path, settings: Settings) -> list[Row]:
    asked = [*sample_questions(), *(Asked(FAR_OFF, "company", text, False) for text in FAR_OFF_QUESTIONS)]
    with own_store(settings, "benchmark") as store:
        store.ingest(SAMPLE / "documents", "company")
        for item in read_sets(questions):
            if item.name not in SETS:
                continue
            item.write(work / "documents" / item.name)
            store.ingest(work / "documents" / item.name, item.name)
            for one in item.questions:
                asked.append(Asked(item.name, item.name, one.text, one.is_answerable))
                if item.name in FITTED:
                    asked.append(Asked(item.name, item.name, one.text, False, one.relevant[0].document))
        measurer = Measurer(store, settings.retrieval)
        return [Row(item.part, item.is_answerable, measurer.measure(item)) for item in asked]


class Measurer:
    """Searches as the server does. Counts each knowledge base's words once."""

    def __init__(self, store: FactStore, settings: RetrievalSettings) -> None:
        self._store = store
        self._settings = settings
        self._chunks: dict[str, dict[str, list[Chunk]]] = {}
        self._counts: dict[str, Counter[str]] = {}

    def measure(self, asked: Asked) -> Evidence:
        name, limit = asked.knowledge_base, self._settings.candidates
        documents = self._documents(name)
        hidden = documents.get(asked.hidden, [])
        dense, lexical = self._store.search_both(asked.text, (name,), limit, self._scope(documents, asked.hidden))
        first = [item.chunk_id for item in fuse(dense, lexical, self._settings)[:10]]
        chunks = self._store.chunks(first)
        weights = word_weights(asked.text, self._counts[name] - _counted(hidden), self._num_chunks(name) - len(hidden))
        return evidence_of(asked.text, dense, lexical, [chunks[key].text for key in first], weights)

    def _documents(self, name: str) -> dict[str, list[Chunk]]:
        """Chunks by path."""
        if name not in self._chunks:
            found = {item.path: self._store.chunks_of(item.document_id) for item in self._store.documents(name)}
            self._chunks[name] = found
            self._counts[name] = _counted([chunk for chunks in found.values() for chunk in chunks])
        return self._chunks[name]

    def _num_chunks(self, name: str) -> int:
        return sum(len(chunks) for chunks in self._chunks[name].values())

    def _scope(self, documents: dict[str, list[Chunk]], hidden: str) -> SearchScope:
        if not hidden:
            return UNRESTRICTED
        return SearchScope(
            frozenset(chunks[0].document_id for path, chunks in documents.items() if chunks and path != hidden)
        )


def _counted(chunks: Sequence[Chunk]) -> Counter[str]:
    return Counter(stem for chunk in chunks for stem in stems(f"{chunk.heading} {chunk.text}"))


def matrix(rows: Sequence[Row], names: Sequence[str]) -> Numbers:
    return np.array([[getattr(row.evidence, name) for name in names] for row in rows], dtype=np.float64)


def truth_of(rows: Sequence[Row]) -> Truth:
    return np.array([row.is_answerable for row in rows], dtype=np.bool_)


def fit(rows: Sequence[Row], names: Sequence[str], parts: Sequence[str] = FITTED) -> Numbers:
    """A score for each row, from 0 to 1. Features are standardised, so that the penalty treats them alike."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    values, truth = matrix(rows, names), truth_of(rows)
    groups = Counter((row.part, row.is_answerable) for row in rows if row.part in parts)
    is_fitted = np.array([row.part in parts for row in rows])
    weights = np.array([1 / groups[row.part, row.is_answerable] for row in rows if row.part in parts])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0))
    model.fit(
        values[is_fitted], truth[is_fitted], logisticregression__sample_weight=weights * len(weights) / weights.sum()
    )
    scores: Numbers = model.predict_proba(values)[:, 1]
    return scores


def tables(rows: Sequence[Row]) -> Iterator[str]:
    masks = {part: np.array([row.part == part for row in rows]) for part in (*FITTED, *TESTED, FAR_OFF)}
    scores = {FLOOR: matrix(rows, FLOOR)[:, 0]} | {names: fit(rows, names) for names in MODELS}
    yield from auroc_table(truth_of(rows), masks, scores)
    yield (
        "\nRefused wrongly / rightly: at floors, and at thresholds that refuse 1, 2 or 5 % of the fitted sets'"
        " answerable questions.\n"
    )
    yield from refusal_table(truth_of(rows), masks, scores)


Models = dict[tuple[str, ...], Numbers]
"""By the names of the features: the score of each row."""


def auroc_table(truth: Truth, masks: dict[str, Truth], scores: Models) -> Iterator[str]:
    yield "| set | answerable, not | " + " | ".join(", ".join(names) for names in scores) + " |"
    yield "|---|---|" + "---|" * len(scores)
    for part in (*FITTED, *TESTED):
        mask, use = masks[part], "fitted" if part in FITTED else "tested"
        own, similarity = truth[mask], scores[FLOOR][mask]
        cells = [f"{auroc(similarity[own], similarity[~own]):.3f}"]
        cells += [str(gain(scores[names][mask], similarity, own)) for names in MODELS]
        yield f"| {part} ({use}) | {own.sum()}, {(~own).sum()} | " + " | ".join(cells) + " |"


def refusal_table(truth: Truth, masks: dict[str, Truth], scores: Models) -> Iterator[str]:
    is_fitted = masks[FITTED[0]] | masks[FITTED[1]]
    rules = [(f"similarity < {floor:g}", scores[FLOOR], floor) for floor in FLOORS]
    for names, score in scores.items():
        for wrong in WRONG:
            threshold = threshold_for(score[is_fitted], truth[is_fitted], wrong)
            rules.append((f"{', '.join(names)} < {threshold:.2f} ({wrong:.0%})", score, threshold))
    yield "| rule | " + " | ".join(masks) + " |"
    yield "|---|" + "---|" * len(masks)
    for label, score, threshold in rules:
        cells = [str(refused_below(threshold, score[mask], truth[mask])) for mask in masks.values()]
        yield f"| {label} | " + " | ".join(cells) + " |"


def report(rows: Sequence[Row], settings: Settings) -> str:
    head = (
        f"# Telling unanswerable questions before generation\n{conditions()}\n- embedder {settings.models.embedder}\n\n"
        "AUROC of the cosine of the best chunk, and what each model adds to it (95 % paired bootstrap intervals).\n"
        "XQuAD's unanswerable questions are its own ones with their paragraph left out; the sample company's are near"
        " misses by design; those far off are asked of the sample company's documents. "
        "[Decision 0014](../../docs/decisions/0014-the-floor-stays.md) says what follows.\n"
    )
    return "\n".join([head, *tables(rows), ""])


def read_rows(path: Path) -> list[Row]:
    found = json.loads(path.read_text(encoding="utf-8"))
    return [Row(row["part"], row["is_answerable"], Evidence(**row["evidence"])) for row in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=Path, required=True, help="folder with xquad and clapnq")
    parser.add_argument("--work", type=Path, required=True, help="folder for documents and index")
    parser.add_argument("--rows", type=Path, help="JSON of the features; made where it does not exist")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/answerability.md")
    arguments = parser.parse_args()
    prepare_environment()
    settings = with_data_dir(load_settings(), arguments.work / "data")
    if arguments.rows and arguments.rows.exists():
        rows = read_rows(arguments.rows)
    else:
        rows = make_rows(arguments.questions, arguments.work, settings)
    if arguments.rows:
        arguments.rows.write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")
    text = report(rows, settings)
    print(text)
    if arguments.save:
        (RESULTS / "answerability.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
