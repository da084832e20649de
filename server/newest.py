"""Where two versions of a document speak about the same thing, the newer one goes first. Pure.

A chunk of a superseded document gives its place to the newer document's chunk on the same topic, and follows right
behind it. It keeps its place where the newer version has nothing on the topic among the candidates, and where the
question names the old version: "the hotel limit of 2024".
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ingest.documents import Document
from ingest.versions import TOKEN, names_version
from server.candidates import Candidate

SAME_TOPIC = 0.3
"""Share of words, numbers left out, that two chunks without common headings must have in common."""


def prefer_newest(candidates: Sequence[Candidate], newer: Mapping[str, Document], query: str) -> list[Candidate]:
    """newer: by document id, the document that takes its place."""
    marked = [_mark(item, newer) for item in candidates]
    ordered = list(marked)
    for item in marked:
        document = newer.get(item.document.document_id)
        if document is None or names_version(query, item.document):
            continue
        place = ordered.index(item)
        counterpart = _counterpart(item, [other for other in ordered[place:] if _is_of(other, document)])
        is_ahead = any(_is_same_topic(item, other) for other in ordered[:place] if _is_of(other, document))
        if counterpart is not None and not is_ahead:
            ordered.remove(counterpart)
            ordered.insert(place, counterpart)
    return ordered


def _mark(item: Candidate, newer: Mapping[str, Document]) -> Candidate:
    document = newer.get(item.document.document_id)
    return replace(item, superseded_by=document.path) if document else item


def _is_of(item: Candidate, document: Document) -> bool:
    return item.document.document_id == document.document_id


def _counterpart(item: Candidate, others: Sequence[Candidate]) -> Candidate | None:
    """The one that shares the most words, among those on the same topic."""
    same = [other for other in others if _is_same_topic(item, other)]
    return max(same, key=lambda other: _shared_words(item, other), default=None)


def _is_same_topic(one: Candidate, other: Candidate) -> bool:
    headings = [_headings(item) for item in (one, other)]
    return headings[0] == headings[1] != () or _shared_words(one, other) >= SAME_TOPIC


def _headings(item: Candidate) -> tuple[str, ...]:
    return tuple(" ".join(TOKEN.sub(" ", title).lower().split()) for title in item.chunk.heading_path)


def _shared_words(one: Candidate, other: Candidate) -> float:
    words = [set(re.findall(r"[^\W\d_]+", item.chunk.text.lower())) for item in (one, other)]
    return len(words[0] & words[1]) / max(1, len(words[0] | words[1]))
