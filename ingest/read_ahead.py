"""An iterator that runs ahead of its reader in a thread of its own, up to a stated weight."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterator[Item], weigh: Callable[[Item], int], most: int) -> Iterator[Item]:
    """The same items in the same order. The thread takes the next one while less than `most` waits to be read.

    What the iterator raises is raised here, behind the items before it. When the reader stops early, the iterator is
    closed after the item that it is at.
    """
    ahead = _Ahead(weigh, most)
    thread = threading.Thread(target=ahead.fill, args=(items,), name="read-ahead", daemon=True)
    thread.start()
    try:
        yield from ahead.taken()
    finally:
        ahead.stop()
        thread.join()


class _Ahead(Generic[Item]):
    """What waits to be read, with its weight. One thread fills, one takes."""

    def __init__(self, weigh: Callable[[Item], int], most: int) -> None:
        self._weigh = weigh
        self._most = most
        self._waiting: deque[tuple[Item, int]] = deque()
        self._weight = 0
        self._is_finished = False
        self._is_stopped = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def fill(self, items: Iterator[Item]) -> None:
        try:
            for item in items:
                if not self._put(item, self._weigh(item)):
                    break
        except BaseException as error:  # noqa: BLE001 - the reader's thread raises it
            self._error = error
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
            with self._changed:
                self._is_finished = True
                self._changed.notify()

    def taken(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_finished)
                if not self._waiting:
                    break
                item, weight = self._waiting.popleft()
                self._weight -= weight
                self._changed.notify()
            yield item
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify()

    def _put(self, item: Item, weight: int) -> bool:
        """False where the reader went away."""
        with self._changed:
            self._waiting.append((item, weight))
            self._weight += weight
            self._changed.notify()
            self._changed.wait_for(lambda: self._weight < self._most or self._is_stopped)
            return not self._is_stopped
