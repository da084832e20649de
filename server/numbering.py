"""Which number a source bears where sources are read as blocks. Pure.

The number stands behind every sentence of a source, so it is part of the block: a source under another number is
another block, to be computed again. Blocks have no order, so numbers need not follow the ranks. Each source takes the
digit that its content points to, or the next free one: the same set of sources has the same numbers in every order,
and most sources bear one number in most answers, whatever else was found. See docs/decisions/0020.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from server.candidates import RetrievedSource

NUM_PLACES = 9
"""One digit, which is one token in every vocabulary. With three sources, about one in ten finds its place taken."""


def with_lasting_numbers(sources: Sequence[RetrievedSource]) -> tuple[RetrievedSource, ...]:
    """The same sources in the same order, with numbers that depend on what they are rather than on their rank."""
    num_places = max(NUM_PLACES, len(sources))
    places: dict[int, int] = {}
    for digest, index in sorted((_digest(source), index) for index, source in enumerate(sources)):
        place = digest % num_places
        while place in places.values():
            place = (place + 1) % num_places
        places[index] = place
    return tuple(replace(source, number=places[index] + 1) for index, source in enumerate(sources))


def _digest(source: RetrievedSource) -> int:
    content = "\n".join(chunk.chunk_id for chunk in source.chunks)
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:8], "big")
