"""From question and answer pairs to training examples in the serving prompt's shape.

Each pair gets the sources that retrieval really finds for it, distractors included, so that a brand is trained on what
it will see. A pair names the documents and evidence of its answer; `[n]` in the written answer means the n-th of those
documents and is rewritten to the number under which that document was retrieved.
"""

import json
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adapters.curation.checks import facts_in
from adapters.curation.rows import text_of
from config.errors import BadRequestError
from config.prompt import Source, Turn
from ingest.access.reader import ANYONE
from ingest.documents import Chunk
from ingest.store import FactStore
from server.answer import query_of
from server.retrieval import Retriever

MARKER = re.compile(r"\[(\d+)\]")
BASIS = "{basis}"
"""In a written answer: stands for title and section of the first cited source."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with its answer as a person wrote it. No documents: the answer is the refusal, or nobody said yet
    where it is from."""

    id: str
    kind: str
    turns: tuple[Turn, ...]
    answer: str
    documents: tuple[str, ...]
    evidence: tuple[str, ...]
    fact: str


@dataclass(frozen=True, slots=True)
class PreparedRow:
    """One example. `is_gold_retrieved` tells whether retrieval found the evidence by itself; where it did not and was
    not helped, the right answer from these sources is the refusal. gold: number of the source that holds it."""

    pair: Pair
    sources: tuple[Source, ...]
    answer: str
    is_gold_retrieved: bool
    gold: int | None = None


def read_pairs(path: Path, split: str) -> list[Pair]:
    """The pairs of one split. Raises BadRequestError with file, line and reason."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequestError(f"The pairs file {path} cannot be read: {error}.", "pairs") from error
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if row.get("split", "train") == split:
                pairs.append(_pair(row, number))
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise BadRequestError(
                f"{path}, line {number}: not a pair ({error!r}).", hint="See docs/adapters.md."
            ) from error
    return pairs


def _pair(row: dict[str, object], number: int) -> Pair:
    """Instructions of its own are left behind: the brand's stand in every row."""
    given = [message for message in row["messages"] if message["role"] not in ("system", "developer")]  # type: ignore[attr-defined]
    messages = [Turn(message["role"], text_of(message)) for message in given]
    return Pair(
        id=str(row.get("id", number)),
        kind=str(row.get("kind", "")),
        turns=tuple(messages[:-1]),
        answer=messages[-1].content,
        documents=tuple(row.get("documents", ())),  # type: ignore[arg-type]
        evidence=tuple(row.get("evidence", ())),  # type: ignore[arg-type]
        fact=str(row.get("fact", "")),
    )


class Preparer:
    """Retrieves for pairs, among what is open to everybody: an adapter can be made to repeat what it was trained on.
    `force_gold` puts the evidence among the sources where retrieval missed it. `unsupported`: ids of pairs that name no
    documents and state facts that no retrieved source holds. They are left out: training would have to memorise them.
    """

    def __init__(self, store: FactStore, retriever: Retriever, knowledge_bases: tuple[str, ...], refusal: str) -> None:
        self._retriever = retriever
        self._knowledge_bases = knowledge_bases
        self._refusal = refusal
        self.unsupported: list[str] = []
        documents = [document for name in knowledge_bases for document in store.documents(name, ANYONE)]
        self._titles = {document.path: document.title for document in documents}
        self._chunks = {document.path: store.chunks_of(document.document_id) for document in documents}

    def prepare(self, pairs: Iterable[Pair], *, force_gold: bool) -> list[PreparedRow]:
        """Rows in order. For training (force_gold), pairs for which nothing is retrieved are left out: no model is ever
        asked about those."""
        rows = [self._prepare_one(pair, force_gold) for pair in pairs]
        return [row for row in rows if row is not None]

    def withhold(self, rows: Sequence[PreparedRow], share: float, seed: int) -> list[PreparedRow]:
        """Copies of some answerable rows without their evidence, whose right answer is the refusal.

        They teach the difference between a source on the topic and a source that answers.
        """
        generator = random.Random(seed)
        answerable = [row for row in rows if row.pair.documents and len(row.sources) > 1]
        chosen = generator.sample(answerable, round(share * len(answerable)))
        return [self._without_evidence(row) for row in chosen]

    def _prepare_one(self, pair: Pair, force_gold: bool) -> PreparedRow | None:
        retrieval = self._retriever.retrieve(query_of(pair.turns), self._knowledge_bases)
        sources = [Source(found.number, found.document.title, found.heading, found.text) for found in retrieval.sources]
        paths = [found.document.path for found in retrieval.sources]
        if sources and not pair.documents and pair.answer.strip() != self._refusal.strip():
            sourced = _with_source(pair, sources, paths)
            if sourced is None:
                self.unsupported.append(pair.id)
                return None
            pair = sourced
        if not pair.documents:
            return PreparedRow(pair, tuple(sources), pair.answer, True) if sources or not force_gold else None
        gold = next(
            (i for i, path in enumerate(paths) if self._is_gold(pair, path, sources[i].heading, sources[i].text)), None
        )
        if gold is None and not force_gold:
            return PreparedRow(pair, tuple(sources), self._refusal, False)
        is_retrieved = gold is not None
        if gold is None:
            gold = self._insert_gold(pair, sources)
        answer = _fill(pair.answer, gold + 1, sources[gold])
        return PreparedRow(pair, tuple(sources), answer, is_retrieved, gold + 1)

    def _insert_gold(self, pair: Pair, sources: list[Source]) -> int:
        """Replace the last source by the evidence's chunk and return its index."""
        path = pair.documents[0]
        chunk = next((c for c in self._chunks.get(path, ()) if self._is_gold(pair, path, c.heading, c.text)), None)
        if chunk is None:
            raise BadRequestError(
                f"The evidence of {pair.id} does not stand in {path}.",
                hint="Correct the pair, or ingest the document. Training takes none that is restricted to groups.",
            )
        index = max(len(sources) - 1, 0)
        sources[index:] = [self._source(index + 1, path, chunk)]
        return index

    def _source(self, number: int, path: str, chunk: Chunk) -> Source:
        return Source(number, self._titles[path], chunk.heading, chunk.text)

    @staticmethod
    def _is_gold(pair: Pair, path: str, heading: str, text: str) -> bool:
        return path in pair.documents and (not pair.evidence or _states(pair.evidence, heading, text))

    def _without_evidence(self, row: PreparedRow) -> PreparedRow:
        kept = [
            source
            for source in row.sources
            if source.number != row.gold
            and f"[{source.number}]" not in row.answer
            and not _states(row.pair.evidence, source.heading, source.text)
        ]
        renumbered = tuple(replace(source, number=number) for number, source in enumerate(kept, 1))
        pair = replace(row.pair, id=f"{row.pair.id}-withheld", kind="refusal", documents=(), evidence=(), fact="")
        return PreparedRow(pair, renumbered, self._refusal, True)


def _states(evidence: Sequence[str], heading: str, text: str) -> bool:
    """The source holds all of the evidence, if there is any."""
    flat = " ".join(f"{heading} {text}".split()).lower()
    return bool(evidence) and all(" ".join(part.split()).lower() in flat for part in evidence)


def _with_source(pair: Pair, sources: Sequence[Source], paths: Sequence[str]) -> Pair | None:
    """The pair with the first source that holds all facts of its answer, or the best source where it states none."""
    facts = tuple(sorted(facts_in(pair.answer)))
    for source, path in zip(sources, paths, strict=True):
        if not facts or _states(facts, source.heading, source.text):
            return replace(pair, documents=(path,), evidence=facts, fact=" ".join(facts))
    return None


def write_rows(path: Path, rows: Iterable[PreparedRow], instructions: str) -> None:
    """As chat-JSONL with sources: what `housevoice adapter train` and `evaluate` read.

    Each row carries the brand's own instructions, so rows of several brands can be trained on together.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(_json_row(row, instructions), ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _json_row(row: PreparedRow, instructions: str) -> dict[str, object]:
    turns = [{"role": turn.role, "content": turn.content} for turn in (*row.pair.turns, Turn("assistant", row.answer))]
    return {
        "id": row.pair.id,
        "kind": row.pair.kind,
        "messages": [{"role": "system", "content": instructions}, *turns],
        "sources": [{"title": s.title, "heading": s.heading, "text": s.text} for s in row.sources],
        "documents": list(row.pair.documents),
        "fact": row.pair.fact,
    }


def _fill(answer: str, number: int, source: Source) -> str:
    """Rewrite `[1]` to the retrieved number and the basis placeholder to title and section."""
    basis = f"{source.title}, {source.heading}" if source.heading else source.title
    return MARKER.sub(f"[{number}]", answer).replace(BASIS, basis)
