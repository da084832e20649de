"""Changes of a folder as they settle."""

from collections.abc import Iterator
from pathlib import Path

from ingest.patterns import Selection
from ingest.scan import portable

QUIET_MILLISECONDS = 500
"""Without a further change for this long, what has changed is taken to be whole: editors write in several steps."""

AT_MOST_MILLISECONDS = 10_000
"""Where changes never end, they are taken in this often."""

LOOK_EVERY_MILLISECONDS = 1_000


def changes_of(folder: Path, selection: Selection) -> Iterator[None]:
    """Once at the start, and then after each group of changes to what is not excluded. Nothing that happens between two
    steps is lost. Ends with KeyboardInterrupt.
    """
    from watchfiles import watch

    folder = folder.resolve()

    def counts(_: object, path: str) -> bool:
        return Path(path) != folder and not selection.excludes(portable(Path(path), folder))

    changes = watch(
        folder,
        watch_filter=counts,
        step=QUIET_MILLISECONDS,
        debounce=AT_MOST_MILLISECONDS,
        rust_timeout=LOOK_EVERY_MILLISECONDS,
        yield_on_timeout=True,
    )
    # The first step means only that watching has begun: from here on nothing is missed, so now look at everything.
    next(changes)
    yield
    for change in changes:
        if change:
            yield
