"""What can be done to the index as a whole, in the running server and from the command line alike."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from config.backup import Facts, write_backup
from config.models import INT8, resolve_embedder
from config.settings import Settings
from ingest.accept import Terms
from ingest.access.reader import ADMIN
from ingest.disk import clear_disk_errors
from ingest.documents import Embedder, Progress
from ingest.embedders import EmbedderShelf
from ingest.follow import OnProgress
from ingest.generations import IndexGenerations
from ingest.rebuild import rebuild
from ingest.recall import read_questions
from ingest.rollback import prune, roll_back
from ingest.store import FactStore
from ingest.verify import verify
from server.retrieval import Retriever

Result = dict[str, Any]
Work = Callable[[IndexGenerations, OnProgress], Result]
"""Blocks. What it returns is JSON."""


def open_generations(
    settings: Settings, count_tokens: Callable[[str], int], *, needs_embedder: bool = True
) -> IndexGenerations:
    """The caller owns the data directory. Loads the embedder, which takes seconds. Raises HousevoiceError."""

    def load(source: str) -> Embedder:
        from ingest.embed import load_embedder

        models = settings.models.model_copy(update={"embedder": source})
        path = resolve_embedder(settings.model_copy(update={"models": models}))
        int8_folder = settings.data.models / "int8" if source.startswith(INT8) else None
        return load_embedder(path, settings.ingest.embed_threads, settings.ingest.embed_batch, int8_folder)

    shelf = EmbedderShelf(settings.models.embedder, load)
    return IndexGenerations.open(settings.data, settings.ingest, shelf, count_tokens, needs_embedder=needs_embedder)


def describe(generations: IndexGenerations) -> Result:
    """All generations that are kept, and in what the live one is not what the settings ask for."""
    rows = [{**asdict(card), "is_live": card.number == generations.number} for card in generations.folder.cards()]
    return {
        "generations": rows,
        "live": generations.number,
        "previous": generations.folder.previous(),
        "differences": generations.differences,
    }


def rebuilding(settings: Settings, questions: Path | None, *, accepts_worse: bool) -> Work:
    """questions: in place of index.questions. Raises BadRequestError where they cannot be read."""
    chosen = questions or (Path(settings.index.questions).expanduser() if settings.index.questions else None)
    known = read_questions(chosen) if chosen else []
    terms = Terms(known, ranker(settings), settings.index.max_recall_loss, accepts_worse)
    return _told(lambda generations, on_progress: asdict(rebuild(generations, terms, on_progress)))


def rolling_back(number: int | None) -> Work:
    return _told(lambda generations, on_progress: asdict(roll_back(generations, number, on_progress)))


def pruning(keep: int) -> Work:
    return lambda generations, on_progress: {"removed": prune(generations, keep)}


def verifying(*, repair: bool) -> Work:
    def work(generations: IndexGenerations, on_progress: OnProgress) -> Result:
        findings = verify(generations, repair=repair, on_progress=on_progress)
        return {**asdict(findings), "is_good": findings.is_good, "generation": generations.number}

    return _told(work)


def backing_up(path: Path | None) -> Work:
    """path: None for a dated file in the data directory's `backups/`."""

    def work(generations: IndexGenerations, on_progress: OnProgress) -> Result:
        def facts() -> Facts:
            parts = generations.live.parts
            counts = {"documents": len(generations.documents()), "chunks": parts.catalog.count_chunks()}
            return Facts(generations.number, counts, lambda place: _is_kept(place, generations.number))

        written = write_backup(
            generations.data,
            path,
            generations.writing,
            facts,
            lambda stage, num_done, num_total: on_progress(Progress(stage, num_done, num_total, "")),
        )
        return {"path": str(written), "num_bytes": written.stat().st_size, "generation": generations.number}

    return _told(work)


def ranker(settings: Settings) -> Callable[[FactStore, str], list[str]]:
    """Documents in the order of what retrieval finds, over all knowledge bases, before any floor or budget."""

    def rank(store: FactStore, question: str) -> list[str]:
        found = Retriever(store, settings.retrieval).retrieve(question, tuple(store.knowledge_bases()), ADMIN)
        return list(dict.fromkeys(candidate.document.path for candidate in found.candidates))

    return rank


def _told(work: Work) -> Work:
    """With one clear error for a disk that is full or cannot be written."""

    def run(generations: IndexGenerations, on_progress: OnProgress) -> Result:
        with clear_disk_errors(generations.data.root):
            return work(generations, on_progress)

    return run


def _is_kept(place: Path, live: int) -> bool:
    """Of the index, the live generation alone: the others can be built again."""
    return place.parts[0] != "index" or place.parts[1] in ("current", str(live))
