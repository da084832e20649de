"""May a built index generation become live? Counts, self-search, and recall against the generation it would replace."""

from collections.abc import Sequence
from dataclasses import dataclass

from ingest.documents import Parity, Progress
from ingest.embedders import MissingEmbedder
from ingest.follow import Followed, OnProgress
from ingest.generations import Generation
from ingest.recall import Question, RankDocuments, recall_at_ten
from ingest.store import FactStore

SELF_SEARCH_SAMPLE = 200


@dataclass(frozen=True, slots=True)
class Terms:
    """questions: for recall at ten, old against new. max_recall_loss: at most so much less is accepted.

    accepts_worse: whatever recall says; counts and self-search must be right all the same.
    """

    questions: Sequence[Question]
    rank: RankDocuments
    max_recall_loss: float
    accepts_worse: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """share_found: of a sample of chunks, by their own vectors. Recall: None where there were no questions or the old
    embedder is gone. refusal: why the generation may not become live, "" where it may.
    """

    share_found: float
    recall_before: float | None
    recall_after: float | None
    refusal: str

    @property
    def values(self) -> dict[str, float]:
        """Those that are known."""
        values = {
            "share_found": self.share_found, "recall_before": self.recall_before, "recall_after": self.recall_after
        }  # fmt: skip
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class SwitchReport:
    """What became of a rebuild or a rollback. `refusal` says why the generation was not made live, "" where it was.

    num_parsed: documents made anew from their files. num_carried: from their stored text, as the file is gone or was
    edited since its ingest.
    """

    number: int
    before: int
    num_documents: int
    num_parsed: int
    num_carried: int
    num_chunks_before: int
    num_chunks_after: int
    share_found: float
    recall_before: float | None
    recall_after: float | None
    seconds: float
    refusal: str = ""


def check(live: FactStore, built: FactStore, terms: Terms, on_progress: OnProgress) -> Checked:
    """Blocks for the self-search and two searches a question."""
    on_progress(Progress("verify", 0, 2, ""))
    parity = built.check_parity(SELF_SEARCH_SAMPLE)
    on_progress(Progress("verify", 1, 2, ""))
    before = None if isinstance(live.parts.embedder, MissingEmbedder) else _recall(live, terms)
    after = _recall(built, terms)
    on_progress(Progress("verify", 2, 2, ""))
    share = parity.num_found / parity.num_sampled if parity.num_sampled else 1.0
    refusal = _refusal_of(parity) or emptied(live, built) or _refusal_of_recall(before, after, terms)
    return Checked(share, before, after, refusal)


def report(live: Generation, built: Generation, followed: Followed, checked: Checked, seconds: float) -> SwitchReport:
    return SwitchReport(
        number=built.number,
        before=live.number,
        num_documents=len(built.store.documents()),
        num_parsed=followed.num_parsed,
        num_carried=followed.num_carried,
        num_chunks_before=live.store.parts.catalog.count_chunks(),
        num_chunks_after=built.store.parts.catalog.count_chunks(),
        share_found=checked.share_found,
        recall_before=checked.recall_before,
        recall_after=checked.recall_after,
        seconds=seconds,
        refusal=checked.refusal,
    )


def emptied(live: FactStore, built: FactStore) -> str:
    """A document that had text must have some. Documents that one of the two does not have yet are not its matter."""
    had = {document.document_id: document for document in live.documents() if document.num_chunks}
    lost = [item.path for item in built.documents() if item.document_id in had and not item.num_chunks]
    return f"{len(lost)} documents would be without any text, {lost[0]} among them." if lost else ""


def _recall(store: FactStore, terms: Terms) -> float | None:
    return recall_at_ten(store, terms.questions, terms.rank) if terms.questions else None


def _refusal_of(parity: Parity) -> str:
    if parity.is_good:
        return ""
    return (
        f"Its parts do not agree: {parity.num_catalog} chunks, {parity.num_vectors} vectors, {parity.num_lexical} in"
        f" the lexical index; {parity.num_found} of {parity.num_sampled} find themselves."
    )


def _refusal_of_recall(before: float | None, after: float | None, terms: Terms) -> str:
    if before is None or after is None or terms.accepts_worse or after >= before - terms.max_recall_loss:
        return ""
    return (
        f"Recall at ten falls from {before:.3f} to {after:.3f}, more than index.max_recall_loss ="
        f" {terms.max_recall_loss}. housevoice index rebuild --accept-worse takes it all the same."
    )
