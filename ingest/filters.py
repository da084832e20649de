"""What a search may return, decided before it runs: every search applies it inside its query, never to its result.

What is hidden takes no place among the best. A client's wish (`SearchFilter`) and what the one who asks may read become
one `SearchScope`; the searches know nothing else.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """A client's wish. An empty field restricts nothing; of several values in one field any may fit; all fields must.

    paths: a folder ("hr"), a file ("hr/leave.md") or a glob ("*/2026-*.pdf", where * crosses folders), case-sensitive.
    types: a file's suffix without the dot ("pdf") or a media type ("text/markdown"). tags: from front matter.
    dated_from, dated_before: Unix seconds of the date that a document says of itself (front matter, a mail's head), or
    else of its file's time; from the first on and before the second.
    """

    paths: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    dated_from: int | None = None
    dated_before: int | None = None

    @property
    def is_empty(self) -> bool:
        return self == EVERYTHING


EVERYTHING = SearchFilter()


@dataclass(frozen=True, slots=True)
class SearchScope:
    """What the indexes get: chunks must be of these documents AND have one of these labels.

    document_ids: what passes the client's filter; None for every document.
    readable_labels: access labels of the documents that the asker may read; None where that is all of them.
    """

    document_ids: frozenset[str] | None = None
    readable_labels: frozenset[str] | None = None

    @property
    def holds_nothing(self) -> bool:
        return any(part is not None and not part for part in (self.document_ids, self.readable_labels))


UNRESTRICTED = SearchScope()
