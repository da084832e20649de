"""Who asks, and what they must be to read."""

from collections.abc import Collection
from dataclasses import dataclass

Requirement = tuple[tuple[str, ...], ...]
"""Who may read a document: one of the groups of EVERY inner tuple. Empty: everybody. An inner () is met by nobody."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody with the groups of their key. `reads_everything`: an admin, whom no rule stops."""

    groups: frozenset[str] = frozenset()
    reads_everything: bool = False

    def is_one_of(self, groups: Collection[str]) -> bool:
        return self.reads_everything or not self.groups.isdisjoint(groups)

    def meets(self, requirement: Requirement) -> bool:
        return all(self.is_one_of(groups) for groups in requirement)


ANYONE = Reader()
"""In no group: reads what is open to everybody."""

ADMIN = Reader(reads_everything=True)
