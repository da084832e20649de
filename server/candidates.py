"""The words of retrieval: a chunk that a search found, and a source that the model is given."""

from dataclasses import dataclass

from ingest.access.reader import Requirement
from ingest.documents import Chunk, Document


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that a search found. Ranks count from 1; None where that search did not find it.

    verdict: what became of it, e.g. "source 1", "merged into source 2", "over budget", "below floor",
    "duplicate of source 1", "over its document's share". rerank_score: the cross-encoder's, None where it gave none.
    superseded_by: path of the newer version of its document, "" where there is none.
    """

    chunk: Chunk
    document: Document
    dense_rank: int | None
    dense_score: float | None
    lexical_rank: int | None
    lexical_score: float | None
    fused_rank: int
    fused_score: float
    verdict: str = ""
    rerank_score: float | None = None
    superseded_by: str = ""


@dataclass(frozen=True, slots=True)
class RetrievedSource:
    """What the model sees under one number: a chunk, or adjoining ones of one document in reading order.

    requirement: what the document asks of its readers, by which cached prompts are kept apart.
    """

    number: int
    document: Document
    chunks: tuple[Chunk, ...]
    heading: str
    location: str
    text: str
    num_tokens: int
    superseded_by: str = ""
    requirement: Requirement = ()
