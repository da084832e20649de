"""Which number a source bears where sources are read as blocks. Pure; the same for serving and for training.

The number stands behind every sentence of a source, so it is part of the block: a source under another number is
another block, to be computed again. Blocks have no order, so numbers need not follow the ranks. Each source takes the
digit that its content points to, or the next free one: the same set of sources has the same numbers in every order,
and most sources bear one number in most answers, whatever else was found. See docs/decisions/0020.
"""

import hashlib
from collections.abc import Sequence

NUM_PLACES = 9
"""One digit, which is one token in every vocabulary. With three sources, about one in ten finds its place taken."""


def lasting_numbers(contents: Sequence[str]) -> tuple[int, ...]:
    """A number for each source, in order, from what it holds rather than from its rank."""
    num_places = max(NUM_PLACES, len(contents))
    places: dict[int, int] = {}
    for digest, index in sorted((_digest(content), index) for index, content in enumerate(contents)):
        place = digest % num_places
        while place in places.values():
            place = (place + 1) % num_places
        places[index] = place
    return tuple(places[index] + 1 for index in range(len(contents)))


def _digest(content: str) -> int:
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:8], "big")
