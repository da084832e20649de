"""Hand-made retrievals: one line a candidate."""

from ingest.documents import Chunk, Document
from server.candidates import Candidate, RetrievedSource
from server.evaluation.judging import Judged, judge
from server.evaluation.questions import Expected, Question
from server.retrieval import Retrieval


def candidate(path: str, ordinal: int = 0, text: str = "", dense: int | None = 1, lexical: int | None = 1) -> Candidate:
    document = Document(path, "company", path, path, "text/plain", "h", 1, 0, 0)
    chunk = Chunk(f"{path}#{ordinal}", path, ordinal, text or f"text {ordinal} of {path}", ("Heading",), "", 10)
    dense_score = None if dense is None else 1 / dense
    lexical_score = None if lexical is None else 9 / lexical
    return Candidate(chunk, document, dense, dense_score, lexical, lexical_score, 1, 0.5)


def retrieval(*candidates: Candidate, relevance: float = 0.8, floor: float = 0.3, seconds: float = 0.01) -> Retrieval:
    sources = tuple(
        RetrievedSource(number, item.document, (item.chunk,), "", "", item.chunk.text, 10)
        for number, item in enumerate(candidates, 1)
        if relevance >= floor
    )
    return Retrieval("question", sources, candidates, relevance, seconds)


def question(name: str, *relevant: Expected) -> Question:
    return Question(name, f"question {name}", relevant)


def judged(name: str, relevant: tuple[Expected, ...], found: Retrieval) -> Judged:
    return judge(question(name, *relevant), found)
