"""Which documents are versions of one another, told from their names. Pure.

Two documents are versions where their paths, or their titles, are equal but for one or more version tokens: a year, a
date, or a number behind v, version, rev, revision or edition. Both must carry a token: whether "policy.md" is
older or newer than "policy-2024.md" cannot be told from the names.

Not recognised: months and quarters in words, roman numerals, issues of a periodical, "draft" and "final".
"""

import re
from dataclasses import dataclass

from ingest.documents import Document

SEPARATOR = r"[\s._-]"
DATE = r"(?P<year>(?:19|20)\d\d)(?P<mark>[._-]?)(?P<month>0[1-9]|1[0-2])(?P=mark)(?P<day>0[1-9]|[12]\d|3[01])"
YEAR = r"(?P<only_year>(?:19|20)\d\d)"
NUMBERED = rf"(?:v|ver|version|rev|revision|edition){SEPARATOR}*(?P<number>\d{{1,6}}(?:\.\d{{1,6}}){{0,3}})"
TOKEN = re.compile(rf"(?<![^\W_])(?:{DATE}|{YEAR}|{NUMBERED})(?![^\W_])", re.IGNORECASE)
SUFFIX = re.compile(r"\.[a-z][a-z0-9]{0,7}$", re.IGNORECASE)

Version = tuple[int, ...]
"""Compared part by part: (2026,) or (2026, 1, 14) or (1, 2). Of several tokens all count, in their order."""


@dataclass(frozen=True, slots=True)
class VersionedName:
    """stem: the name without its tokens, and of which kinds they are: "v2" and "2026" cannot be compared. tokens: as
    they are written, lower-case, for finding them in a question."""

    stem: str
    version: Version
    tokens: tuple[str, ...]


def versioned_name(name: str) -> VersionedName | None:
    """None where it carries no token, or nothing else."""
    found = list(TOKEN.finditer(name))
    words = re.findall(r"[^\W_]+|/", TOKEN.sub(" ", name).lower())
    if not found or not any(word.isalpha() for word in words):
        return None
    version = tuple(part for match in found for part in _parts(match))
    kinds = "".join("n" if match["number"] else "d" for match in found)
    return VersionedName(f"{kinds}:{' '.join(words)}", version, tuple(match[0].lower() for match in found))


def names_of(document: Document) -> list[VersionedName]:
    """By path without its suffix (a newer version may be of another format), and by title; what there is of them."""
    path = versioned_name(SUFFIX.sub("", document.path))
    title = versioned_name(document.title)
    found = [("path", path), ("title", title)]
    return [VersionedName(f"{kind}:{name.stem}", name.version, name.tokens) for kind, name in found if name]


def rank_of(version: Version) -> str:
    """Text that sorts as the versions do."""
    return ".".join(f"{part:08}" for part in version)


def names_version(question: str, document: Document) -> bool:
    """Does the question ask for this very version, as in "the hotel limit of 2024"?"""
    words = question.lower()
    tokens = {token for name in names_of(document) for token in name.tokens}
    years = {token[:4] for token in tokens if re.fullmatch(YEAR, token[:4])}
    return any(re.search(rf"(?<![^\W_]){re.escape(token)}(?![^\W_])", words) for token in tokens | years)


def _parts(match: re.Match[str]) -> Version:
    if match["number"]:
        return tuple(int(part) for part in match["number"].split("."))
    if match["only_year"]:
        return (int(match["only_year"]),)
    return int(match["year"]), int(match["month"]), int(match["day"])
