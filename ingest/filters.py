"""What a search may return, decided before it runs: every search applies it inside its query, never to its result."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """readable_labels: access labels of the documents that the asker may read; None where that is all of them."""

    readable_labels: frozenset[str] | None = None


UNFILTERED = SearchFilter()
