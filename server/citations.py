"""Citations: the model's `[n]` become numbered links to the documents that were really retrieved. Pure.

The model numbers what stood in its prompt; a reader wants documents in the order in which the answer names them. So
each marker is renumbered by document in first-use order, a marker of nothing is dropped with the blank before it, and
while text arrives in pieces an unfinished bracket is held back.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

MARKER = re.compile(r" ?\[ ?(\d{1,3}(?: ?[,;] ?\d{1,3}){0,7}) ?\]")
UNFINISHED = re.compile(r" ?(?:\[[\d ,;]{0,47})?$")
"""Matches every proper beginning of a marker, and nothing longer: it bounds what a stream can be made to hold back."""


@dataclass(frozen=True, slots=True)
class Citable:
    """What one number of the prompt stands for."""

    document_id: str
    chunk_id: str
    title: str
    location: str


@dataclass(frozen=True, slots=True)
class Citation:
    """One marker in the final text. `start` and `end` count characters; text[start:end] == f"[{number}]"."""

    number: int
    source_number: int
    cited: Citable
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class CitedText:
    """Final text that may be sent now, and the citations that lie in it."""

    text: str
    citations: tuple[Citation, ...] = ()


class CitationMapper:
    """Feed the answer in pieces of any size; the joined output does not depend on how it was cut.

    citables: by the number in the prompt. Empty: text passes unchanged, since nothing in it can be a citation.
    """

    def __init__(self, citables: Mapping[int, Citable]) -> None:
        self._citables = citables
        self._number_of_document: dict[str, int] = {}
        self._held = ""
        self._length = 0
        self._adjoining: list[Citation] = []
        """Citations that end where the text ends now: `[1][2]` of one document are shown as one marker."""

    def feed(self, text: str) -> CitedText:
        if not self._citables:
            return CitedText(text)
        text = self._held + text
        unfinished = UNFINISHED.search(text)
        cut = unfinished.start() if unfinished else len(text)
        self._held = text[cut:]
        return self._rewrite(text[:cut])

    def finish(self) -> CitedText:
        """What was held back; an unfinished bracket is plain text after all."""
        held, self._held = self._held, ""
        return self._rewrite(held)

    def _rewrite(self, text: str) -> CitedText:
        pieces: list[str] = []
        citations: list[Citation] = []
        done = 0
        for marker in MARKER.finditer(text):
            self._append(pieces, text[done : marker.start()])
            citations += self._replace(marker, pieces)
            done = marker.end()
        self._append(pieces, text[done:])
        return CitedText("".join(pieces), tuple(citations))

    def _replace(self, marker: re.Match[str], pieces: list[str]) -> list[Citation]:
        numbers = [int(number) for number in re.findall(r"\d+", marker[1])]
        known = [number for number in numbers if number in self._citables]
        if known and marker[0].startswith(" "):
            self._append(pieces, " ")
        return [citation for number in known if (citation := self._cite(number, pieces))]

    def _cite(self, source_number: int, pieces: list[str]) -> Citation | None:
        cited = self._citables[source_number]
        number = self._number_of_document.setdefault(cited.document_id, len(self._number_of_document) + 1)
        shown = next((citation for citation in self._adjoining if citation.number == number), None)
        if shown and any(citation.source_number == source_number for citation in self._adjoining):
            return None
        if shown:
            citation = Citation(number, source_number, cited, shown.start, shown.end)
        else:
            adjoining = self._adjoining
            start = self._length
            self._append(pieces, f"[{number}]")
            citation = Citation(number, source_number, cited, start, self._length)
            self._adjoining = adjoining
        self._adjoining.append(citation)
        return citation

    def _append(self, pieces: list[str], text: str) -> None:
        if text:
            pieces.append(text)
            self._length += len(text)
            self._adjoining = []
