"""A progress bar on standard error for work that reports stage, number done and number in all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from server.cli.console import err, plain

OnProgress = Callable[[str, int, int, str], None]
"""(stage, number done, number in all, current path)"""


@contextmanager
def progress_bar() -> Iterator[OnProgress]:
    """Shown on a terminal only, and gone when the block ends."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    with bar:
        task = bar.add_task("starting", total=None)

        def advance(stage: str, num_done: int, num_total: int, path: str) -> None:
            description = plain(f"{stage} {Path(path).name[-40:]}")
            bar.update(task, description=description, completed=num_done, total=num_total)

        yield advance
