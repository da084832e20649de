"""What an owner wrote about readers: the access file of a folder, and the `access` line of a document. Pure.

Both come from untrusted files. What cannot be understood is never taken for "no rule": it becomes a problem, and the
caller keeps the place closed.
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field

from config.brands import NAME
from config.errors import ConfigError
from ingest.parse.front_matter import Head

ACCESS_FILE = ".housevoice-access.toml"
MAX_PATTERN = 200


@dataclass(frozen=True, slots=True)
class Statement:
    """The groups that a document names, or the problem for which they cannot be read."""

    groups: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class FolderStatement:
    """Groups by file name pattern; "" stands for the whole folder. Empty where there is a `problem`."""

    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problem: str = ""


def read_access_file(text: str) -> FolderStatement:
    """The content of an access file: `groups = [...]` for the folder, a `[files]` table with groups by pattern."""
    try:
        given = tomllib.loads(text)
        _refuse_unknown(given)
        groups = {"": checked_groups(given["groups"])} if "groups" in given else {}
        groups |= _file_groups(given.get("files", {}))
    except (ConfigError, tomllib.TOMLDecodeError, RecursionError) as error:
        return FolderStatement(problem=f"It cannot be read: {error}")
    return FolderStatement(groups) if groups else FolderStatement(problem="It names no groups.")


def read_access(head: Head) -> Statement | None:
    """The `access` key of a document's head: a name, a list in brackets, or one name a line.

    None where there is no such key. Everything else about this key is a problem.
    """
    found = head.entries("access")
    if not found:
        return None
    if not head.is_closed:
        return Statement(
            problem="The head with the access line is not closed by three dashes, or has lines that are no keys."
        )
    if len(found) > 1:
        return Statement(problem="There is more than one access line.")
    if not found[0].is_closed:
        return Statement(problem="The list of the access line is not closed on its line. Write it as [hr, board].")
    try:
        return Statement(checked_groups(list(found[0].items)))
    except ConfigError as error:
        return Statement(problem=str(error))


def checked_groups(value: object) -> tuple[str, ...]:
    """Sorted, each once. Raises ConfigError that names what is wrong."""
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{_short(value)} is no list of groups.", 'Write it as ["hr"].')
    for name in value:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ConfigError(f"{_short(name)} is no group.", "Use lower-case letters, digits, '.', '_' and '-'.")
    return tuple(sorted(set(value)))


def _refuse_unknown(given: Mapping[str, object]) -> None:
    for key in given:
        if key not in ("groups", "files"):
            nearest = difflib.get_close_matches(key, ("groups", "files"), n=1, cutoff=0.0)[0]
            raise ConfigError(f"Unknown key {_short(key)}.", f"Did you mean {nearest}?")


def _file_groups(files: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(files, dict):
        raise ConfigError("files is no table.", 'Write [files] with lines like "salaries-*.xlsx" = ["board"].')
    for pattern in files:
        if not 0 < len(pattern) <= MAX_PATTERN or pattern.startswith("/"):
            raise ConfigError(f"{_short(pattern)} is no file name pattern.", "It is relative to the folder.")
    return {pattern: checked_groups(groups) for pattern, groups in files.items()}


def _short(value: object) -> str:
    """Enough of a stranger's text to find it again."""
    return repr(value)[:80]
