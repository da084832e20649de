"""Which adapters are loaded, and which goes when there are too many: never one that a running request needs. Pure."""

from collections import Counter

MAX_ADAPTERS = 32


class AdapterShelf:
    """Counts users of each loaded adapter, by sha256, in the order of last use."""

    def __init__(self, limit: int = MAX_ADAPTERS) -> None:
        self._limit = limit
        self._loaded: dict[str, str] = {}
        self._users: Counter[str] = Counter()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._loaded.values()))

    def is_loaded(self, sha256: str) -> bool:
        return sha256 in self._loaded

    def acquire(self, sha256: str, name: str) -> list[str]:
        """One more request uses it. Returns the adapters to free, which are no longer on the shelf."""
        self._loaded.pop(sha256, None)
        self._loaded[sha256] = name
        self._users[sha256] += 1
        idle = [other for other in self._loaded if not self._users[other]]
        gone = idle[: max(0, len(self._loaded) - self._limit)]
        for other in gone:
            del self._loaded[other]
        return gone

    def release(self, sha256: str) -> None:
        self._users[sha256] -= 1
        if not self._users[sha256]:
            del self._users[sha256]
