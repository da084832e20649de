"""Which number a source bears where sources are read as blocks. Pure; the same for serving and for training.

The number stands behind every sentence of a source, so it is part of the block: a source under another number is
another block, to be computed again. Blocks have no order, so numbers need not follow the ranks. Each source takes the
number that its content points to, or the next free one: the same set of sources has the same numbers in every order,
and most sources bear one number in most answers, whatever else was found. See docs/decisions/0020.
"""

import hashlib
from collections.abc import Sequence

DIGITS = range(1, 10)
"""One token in every vocabulary. With three sources, about one in ten finds its place taken."""
TWO_DIGITS = range(10, 100)
"""Two tokens, but with nine sources most of the digits would be taken when the last one comes."""
NUM_FEW = 5
"""So many sources share the digits."""


def lasting_numbers(contents: Sequence[str]) -> tuple[int, ...]:
    """A number for each source, in order, from what it holds rather than from its rank."""
    numbers = DIGITS if len(contents) <= NUM_FEW else range(TWO_DIGITS.start, max(TWO_DIGITS.stop, 10 + len(contents)))
    places: dict[int, int] = {}
    for digest, index in sorted((_digest(content), index) for index, content in enumerate(contents)):
        place = digest % len(numbers)
        while place in places.values():
            place = (place + 1) % len(numbers)
        places[index] = place
    return tuple(numbers[places[index]] for index in range(len(contents)))


def _digest(content: str) -> int:
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:8], "big")
