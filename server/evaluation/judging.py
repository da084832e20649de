"""What each search found for each question, as ranked lists that can be measured. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from ingest.documents import Chunk
from server.candidates import Candidate
from server.evaluation.questions import Expected, Question
from server.retrieval import Retrieval

SERVED = "fused"
SYSTEMS = (SERVED, "dense", "lexical")
"""What is served, and each search alone, from one and the same retrieval."""
EXPECTED = "expected"


@dataclass(frozen=True, slots=True)
class Judged:
    """One question with its retrieval. runs: for each system the items it found, best first; see `rank_items`."""

    question: Question
    retrieval: Retrieval
    runs: Mapping[str, tuple[str, ...]]

    @property
    def relevance(self) -> float:
        """The score by which retrieval decides whether anything is relevant."""
        return self.retrieval.best_similarity

    @property
    def is_refused(self) -> bool:
        return not self.retrieval.sources

    @property
    def rank(self) -> int | None:
        """Of the first expected place in what is served, from 1; None where it is not among the candidates."""
        run = self.runs[SERVED]
        return next((rank for rank, item in enumerate(run, 1) if item.startswith(EXPECTED)), None)


@dataclass(frozen=True, slots=True)
class Absent:
    """An expected place that no index could return, and why: the question file or the index is out of date."""

    question_id: str
    expected: Expected
    reason: str


def judge(question: Question, retrieval: Retrieval) -> Judged:
    """The candidates come in the order in which they are served; each search's own order is in their ranks."""
    orders: dict[str, Sequence[Candidate]] = {
        SERVED: retrieval.candidates,
        "dense": _by_rank(retrieval.candidates, "dense_rank"),
        "lexical": _by_rank(retrieval.candidates, "lexical_rank"),
    }
    return Judged(question, retrieval, {name: rank_items(question, order) for name, order in orders.items()})


def rank_items(question: Question, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Names of what was found, best first: "expected 1" for the first expected place, else a document or a chunk.

    What was found before takes no further rank: neither a second chunk that meets an expectation nor, where documents
    are asked for, a second chunk of any document. So documents rank by their best chunk.
    """
    items: dict[str, None] = {}
    for candidate in candidates:
        met = meets(question, candidate)
        other = candidate.document.path if question.is_about_documents else candidate.chunk.chunk_id
        items.update(dict.fromkeys([f"{EXPECTED} {number}" for number in met] or [f"other {other}"]))
    return tuple(items)


def meets(question: Question, candidate: Candidate) -> list[int]:
    """Numbers, from 1, of the expected places that this candidate is."""
    path, text = candidate.document.path, _text(candidate.chunk)
    return [number for number, expected in enumerate(question.relevant, 1) if expected.is_met_by(path, text)]


def find_absent(questions: Iterable[Question], chunks_of: Callable[[str], Sequence[Chunk] | None]) -> list[Absent]:
    """Expectations that no indexed chunk meets. chunks_of: a path's chunks, None for a document that is not indexed."""
    absent = []
    for question in questions:
        for expected in question.relevant:
            chunks = chunks_of(expected.document)
            if chunks is None:
                absent.append(Absent(question.id, expected, "the document is not indexed"))
            elif not any(expected.is_met_by(expected.document, _text(chunk)) for chunk in chunks):
                absent.append(Absent(question.id, expected, "no chunk of the document contains the text"))
    return absent


def _by_rank(candidates: Sequence[Candidate], name: str) -> list[Candidate]:
    rank_of = attrgetter(name)
    return sorted((item for item in candidates if rank_of(item) is not None), key=rank_of)


def _text(chunk: Chunk) -> str:
    return f"{chunk.heading} {chunk.text}"
