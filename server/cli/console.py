"""What all commands share for talking to a person: consoles, safe text, and errors with exit code 2."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from config.errors import HousevoiceError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: object) -> str:
    """Text from documents, models or files, made safe to print: no terminal escapes, no rich markup."""
    return escape(CONTROL.sub("", str(text)))


def say(text: str) -> None:
    out.print(text)


def note(text: str) -> None:
    """For the person only; goes to standard error so that output can be piped."""
    err.print(text)


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Turn our own errors into one clear message and exit code 2; anything else is a bug and keeps its traceback."""
    try:
        yield
    except HousevoiceError as error:
        err.print(f"[bold red]{plain(error.message)}[/]")
        if error.hint:
            err.print(plain(error.hint))
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("Stopped.")
        sys.exit(130)
