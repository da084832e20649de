"""Retrieval over whichever index generation is live: one question is answered by one generation, also over a switch."""

from collections.abc import Callable
from dataclasses import replace

from ingest.access.reader import ANYONE, Reader
from ingest.filters import EVERYTHING, SearchFilter
from ingest.generations import IndexGenerations
from ingest.store import FactStore
from server.retrieval import Retrieval, Retriever


class LiveRetriever:
    """`Retrieves` for the server. `make` gives the retriever of a store; making one must cost nothing."""

    def __init__(self, generations: IndexGenerations, make: Callable[[FactStore], Retriever]) -> None:
        self._generations = generations
        self._make = make

    def retrieve(
        self,
        query: str,
        knowledge_bases: tuple[str, ...],
        reader: Reader = ANYONE,
        search_filter: SearchFilter = EVERYTHING,
    ) -> Retrieval:
        with self._generations.using() as live:
            found = self._make(live.store).retrieve(query, knowledge_bases, reader, search_filter)
            return replace(found, generation=live.number)
