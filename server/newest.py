"""Where two versions of a document speak about the same thing, the newer one goes first. Pure.

A chunk of a superseded document gives its place to the newer document's chunk on the same topic, and follows right
behind it. It keeps its place where the newer version has nothing on the topic among the candidates, and where the
question names the old version: "the hotel limit of 2024".
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ingest.documents import Document
from ingest.versions import TOKEN, names_version
from server.candidates import Candidate

NEARLY_AS_NEAR = 0.85
"""A chunk whose cosine to the question is at least this share of the other's answers it about as well."""

SAME_TOPIC = 0.3
"""Share of words, numbers left out, that makes two chunks speak about the same; so do equal headings."""


def prefer_newest(candidates: Sequence[Candidate], newer: Mapping[str, Document], query: str) -> list[Candidate]:
    """newer: by document id, the document that takes its place."""
    marked = [_mark(item, newer) for item in candidates]
    ordered = list(marked)
    for item in marked:
        document = newer.get(item.document.document_id)
        if document is None or names_version(query, item.document):
            continue
        counterpart = next((other for other in ordered if _replaces(other, item, document)), None)
        place = ordered.index(item)
        if counterpart is not None and ordered.index(counterpart) > place:
            ordered.remove(counterpart)
            ordered.insert(place, counterpart)
    return ordered


def _mark(item: Candidate, newer: Mapping[str, Document]) -> Candidate:
    document = newer.get(item.document.document_id)
    return replace(item, superseded_by=document.path) if document else item


def _replaces(other: Candidate, old: Candidate, document: Document) -> bool:
    """Is it of the newer document, and on the topic of the old chunk as far as the question goes?"""
    if other.document.document_id != document.document_id:
        return False
    headings = _headings(old)
    is_near = (other.dense_score or 0.0) >= NEARLY_AS_NEAR * (old.dense_score or math.inf)
    return is_near or headings == _headings(other) != () or _shared_words(old, other) >= SAME_TOPIC


def _headings(item: Candidate) -> tuple[str, ...]:
    return tuple(" ".join(TOKEN.sub(" ", title).lower().split()) for title in item.chunk.heading_path)


def _shared_words(one: Candidate, other: Candidate) -> float:
    words = [set(re.findall(r"[^\W\d_]+", item.chunk.text.lower())) for item in (one, other)]
    return len(words[0] & words[1]) / max(1, len(words[0] | words[1]))
