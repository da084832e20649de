"""One evaluation: all questions asked, measured, and what a report or another program needs of it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from config.errors import BadRequestError
from ingest.documents import Chunk, Document
from server.evaluation.gate import Shortfall
from server.evaluation.judging import Absent, Judged, find_absent, judge
from server.evaluation.measures import Scores, score
from server.evaluation.questions import Question
from server.retrieval import Retrieval

SHOWN_CANDIDATES = 3


class Documents(Protocol):
    """The part of `ingest.store.FactStore` that finds expected places."""

    def documents(self, knowledge_base: str | None = None) -> list[Document]: ...

    def chunks_of(self, document_id: str) -> list[Chunk]: ...

    def knowledge_bases(self) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Subject:
    """What was evaluated. floor: the relevance below which a question is refused."""

    questions: Path
    knowledge_bases: tuple[str, ...]
    floor: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    subject: Subject
    judged: tuple[Judged, ...]
    scores: Scores
    absent: tuple[Absent, ...]


def evaluate(
    subject: Subject,
    questions: Sequence[Question],
    retrieve: Callable[[str], Retrieval],
    documents: Documents,
    on_judged: Callable[[Judged], None] = lambda _: None,
) -> Evaluation:
    """Ask every question. Raises BadRequestError for a knowledge base that holds no document."""
    known = documents.knowledge_bases()
    for name in subject.knowledge_bases:
        if name not in known:
            raise BadRequestError(
                f"The knowledge base {name!r} is empty or does not exist.",
                "knowledge_base",
                hint=f"Known: {', '.join(known) or 'none'}. Bring documents in with: housevoice ingest FOLDER",
            )
    judged = []
    for question in questions:
        judged.append(judge(question, retrieve(question.text)))
        on_judged(judged[-1])
    absent = find_absent(questions, _chunk_finder(subject, documents))
    return Evaluation(subject, tuple(judged), score(judged), tuple(absent))


def _chunk_finder(subject: Subject, documents: Documents) -> Callable[[str], Sequence[Chunk] | None]:
    ids: dict[str, list[str]] = {}
    for name in subject.knowledge_bases:
        for document in documents.documents(name):
            ids.setdefault(document.path, []).append(document.document_id)

    def chunks_of(path: str) -> list[Chunk] | None:
        if path not in ids:
            return None
        return [chunk for document_id in ids[path] for chunk in documents.chunks_of(document_id)]

    return chunks_of


def as_json(evaluation: Evaluation, shortfalls: Sequence[Shortfall]) -> dict[str, Any]:
    """All numbers, and for each question its rank, relevance and the first places found."""
    scores = evaluation.scores
    return {
        "questions": str(evaluation.subject.questions),
        "knowledge_bases": list(evaluation.subject.knowledge_bases),
        "relevance_floor": evaluation.subject.floor,
        "num_answerable": scores.num_answerable,
        "num_unanswerable": scores.num_unanswerable,
        "scores": {name: asdict(interval) if interval else None for name, interval in scores.values.items()},
        "latency_milliseconds": asdict(scores.latency),
        "absent": [
            {"id": item.question_id, "document": item.expected.document, "reason": item.reason}
            for item in evaluation.absent
        ],
        "fell_short": [asdict(shortfall) for shortfall in shortfalls],
        "results": [_row(item) for item in evaluation.judged],
    }


def _row(item: Judged) -> dict[str, Any]:
    return {
        "id": item.question.id,
        "question": item.question.text,
        "is_answerable": item.question.is_answerable,
        "rank": item.rank,
        "relevance": item.relevance,
        "is_refused": item.is_refused,
        "milliseconds": 1000 * item.retrieval.seconds,
        "found": [
            {
                "document": candidate.document.path,
                "chunk_id": candidate.chunk.chunk_id,
                "dense_rank": candidate.dense_rank,
                "dense_score": candidate.dense_score,
                "lexical_rank": candidate.lexical_rank,
                "lexical_score": candidate.lexical_score,
                "fused_score": candidate.fused_score,
                "rerank_score": candidate.rerank_score,
            }
            for candidate in item.retrieval.candidates[:SHOWN_CANDIDATES]
        ],
    }
