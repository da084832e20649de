"""What an owner wrote about readers: the access file of a folder, and the `access` line of a document. Pure.

Both come from untrusted files. What cannot be understood is never taken for "no rule": it becomes a problem, and the
caller keeps the place closed.
"""

import difflib
import re
import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field

from config.brands import NAME
from config.errors import ConfigError

ACCESS_FILE = ".housevoice-access.toml"
MAX_PATTERN = 200
MAX_HEAD_LINES = 200
"""A head that is not closed by then is looked at no further."""

ACCESS_KEY = re.compile(r"""^(["']?)access\1[ \t]*:(.*)$""", re.IGNORECASE)
LIST_ITEM = re.compile(r"^[ \t]*-[ \t]+(.+)$")
COMMENT = re.compile(r"(?:^|[ \t])#.*$")


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


def read_front_matter(text: str) -> Statement | None:
    """The `access` key in the YAML head of a Markdown text: a name, a list in brackets, or one name a line.

    None where there is no such key. No other YAML is read; everything else about this key is a problem.
    """
    lines = text.removeprefix("\ufeff").split("\n", MAX_HEAD_LINES + 1)[: MAX_HEAD_LINES + 1]
    if lines[0].rstrip() != "---":
        return None
    end = next((index for index, line in enumerate(lines) if index and line.rstrip() in ("---", "...")), len(lines))
    head = textwrap.dedent("\n".join(lines[1:end])).split("\n")
    found = [(index, match[2]) for index, line in enumerate(head) if (match := ACCESS_KEY.match(line))]
    if not found:
        return None
    if end == len(lines):
        return Statement(problem="The head with the access line is not closed by a line of three dashes.")
    if len(found) > 1:
        return Statement(problem="There is more than one access line.")
    index, value = found[0]
    try:
        return Statement(checked_groups(_yaml_names(value, head[index + 1 :])))
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


def _yaml_names(value: str, following: list[str]) -> list[str]:
    value = COMMENT.sub("", value).strip()
    if value.startswith("["):
        if not value.endswith("]"):
            raise ConfigError("The list of the access line is not closed on its line.", "Write it as [hr, board].")
        return [_unquoted(name) for name in value[1:-1].split(",") if name.strip()]
    if value:
        return [_unquoted(value)]
    names = []
    for line in following:
        item = LIST_ITEM.match(COMMENT.sub("", line))
        if item:
            names.append(_unquoted(item[1]))
        elif line.strip() and not line.lstrip().startswith("#"):
            break
    return names


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _short(value: object) -> str:
    """Enough of a stranger's text to find it again."""
    return repr(value)[:80]
