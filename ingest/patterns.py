"""Which files of a folder count: patterns as in a .gitignore file, on the path relative to the folder."""

import fnmatch
import re
from collections.abc import Sequence

from pathspec import GitIgnoreSpec

from config.errors import BadRequestError

NEEDS_PATH = re.compile(r"[/!\\#]")
"""What gives a pattern a meaning beyond its file's or folder's own name."""


class Globs:
    """`drafts/` is a folder, `*.tmp` a name at any depth, `/top.md` the top only, `!keep.tmp` takes one back.

    Plain names, which is what most lists hold, are one regular expression: a folder of ten thousand files is walked at
    each run. All others are pathspec's. Raises BadRequestError for a pattern that is none.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._names: re.Pattern[str] | None = None
        self._paths: GitIgnoreSpec | None = None
        if any(NEEDS_PATH.search(pattern) for pattern in patterns):
            self._paths = _spec(patterns)
        elif patterns:
            self._names = re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns))

    def match(self, path: str, name: str) -> bool:
        """path: with forward slashes, and one at the end of a folder's. name: its last part, without that slash."""
        if self._names is not None:
            return self._names.match(name) is not None
        return self._paths is not None and self._paths.match_file(path)

    def match_file_or_above(self, path: str) -> bool:
        """The file itself, or one of the folders that it lies in."""
        if self._names is not None:
            return any(self._names.match(part) for part in path.split("/"))
        return self._paths is not None and self._paths.match_file(path)


class Selection:
    """A file counts where an `include` pattern matches it (or there is none) and no `exclude` pattern does."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = Globs(include) if include else None
        self._exclude = Globs(exclude)

    def has_file(self, path: str, name: str) -> bool:
        return not self._exclude.match(path, name) and (
            self._include is None or self._include.match_file_or_above(path)
        )

    def has_folder(self, path: str, name: str) -> bool:
        """False for one that is left out with all that is below; `path` has no slash at its end."""
        return not self._exclude.match(f"{path}/", name)

    def excludes(self, path: str) -> bool:
        """Is a path left out, as a file, as a folder, or with a folder above it? For what may be there no more."""
        parts = path.split("/")
        folders = ("/".join(parts[:end]) for end in range(1, len(parts) + 1))
        return self._exclude.match(path, parts[-1]) or any(
            not self.has_folder(folder, folder.rpartition("/")[2]) for folder in folders
        )


def _spec(patterns: Sequence[str]) -> GitIgnoreSpec:
    try:
        return GitIgnoreSpec.from_lines(patterns)
    except ValueError as error:
        raise BadRequestError(
            f"{list(patterns)} holds a pattern that is none ({error}).", "exclude", hint="Write it as in a .gitignore."
        ) from error
