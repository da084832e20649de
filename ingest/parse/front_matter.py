"""The YAML or TOML head of a Markdown text; no reader of either, as the head is untrusted. Pure.

It is split off here for all that is read from it, so that nothing takes part of a text for its head that another reader
does not. Keys count in any case and in quotes. Values are one line of text, or lists in the forms that people write:

tags: hr, travel          tags: [hr, "travel"]          tags:
                                                          - hr
                                                          - travel
"""

import re
import textwrap
from dataclasses import dataclass

MAX_ITEMS = 50
MAX_ITEM_CHARACTERS = 200
MAX_UNCLOSED_LINES = 200
"""So much of a text is taken for a head that nobody closed."""

ITEM = re.compile(r"^[ \t]*-[ \t]+(.+)$")
LINE = re.compile(r"[ \t#}\])]|-(?!--)|[\w.\-\"']+[ \t]*[:=]|[\w\-]+\Z|\Z")
"""What each line of a head begins like; a rule at the top of a text is followed by other things."""

COMMENT = re.compile(r"(?:^|[ \t])#.*$")


@dataclass(frozen=True, slots=True)
class Entry:
    """One key's value. text: what stands behind the colon, comments and all. following: the lines of the head below."""

    text: str
    following: tuple[str, ...]

    @property
    def value(self) -> str:
        return COMMENT.sub("", self.text).strip()

    @property
    def is_bracketed(self) -> bool:
        return self.value.startswith("[")

    @property
    def is_closed(self) -> bool:
        """False where a list in brackets does not end on its line."""
        return not self.is_bracketed or self.value.endswith("]")

    @property
    def items(self) -> tuple[str, ...]:
        """Of a list in brackets or one a line, unquoted; else the value itself, if there is any."""
        if self.is_bracketed:
            written = [item for item in self.value[1:].removesuffix("]").split(",") if item.strip()]
        else:
            written = [self.value] if self.value else _items_below(self.following)
        return tuple(_unquoted(item) for item in written)


@dataclass(frozen=True, slots=True)
class Head:
    """lines: between the two lines of dashes (TOML: plus signs), without what they are all indented by. body: what
    follows the head.

    is_closed: False where there is no second such line, or where something else than keys and values stands above it,
    as between two rules. The body is then the whole text.
    """

    lines: tuple[str, ...]
    body: str
    is_closed: bool

    def entries(self, key: str) -> list[Entry]:
        """As many as there are lines with this key."""
        pattern = re.compile(rf"""^(["']?){re.escape(key)}\1[ \t]*[:=](.*)$""", re.IGNORECASE)
        found = [(index, match) for index, line in enumerate(self.lines) if (match := pattern.match(line))]
        return [Entry(match[2].strip(), self.lines[index + 1 :]) for index, match in found]


def split_head(text: str) -> Head | None:
    """None where the text does not begin with a line of three dashes or plus signs. Lines end in a line feed."""
    start = text.removeprefix("\ufeff")
    mark = start.partition("\n")[0].rstrip()
    if mark not in ("---", "+++"):
        return None
    lines = start.split("\n")
    end = next((index for index, line in enumerate(lines) if index and line.rstrip() in (mark, "...")), None)
    if end is None:
        return Head(_dedented(lines[1 : MAX_UNCLOSED_LINES + 1]), text, is_closed=False)
    head = _dedented(lines[1:end])
    if not all(LINE.match(line) for line in head):
        return Head(head, text, is_closed=False)
    return Head(head, "\n".join(lines[end + 1 :]), is_closed=True)


def read_text(head: Head, key: str) -> str:
    """The first such line's text, without quotes; empty where the key is missing."""
    entries = head.entries(key)
    return entries[0].text.strip("\"'") if entries else ""


def read_list(head: Head, key: str) -> tuple[str, ...]:
    """The items of the first such line, each once, in order; empty where the key is missing. What is too long is left
    out.
    """
    entries = head.entries(key)
    if not entries:
        return ()
    entry = entries[0]
    is_bare = entry.value and not entry.is_bracketed
    items = [_plain(item) for item in (entry.value.split(",") if is_bare else entry.items)]
    return tuple(dict.fromkeys(item for item in items if 0 < len(item) <= MAX_ITEM_CHARACTERS))[:MAX_ITEMS]


def _items_below(lines: tuple[str, ...]) -> list[str]:
    """Up to the first line that is neither an item nor a comment nor empty."""
    items: list[str] = []
    for line in lines:
        item = ITEM.match(COMMENT.sub("", line))
        if item:
            items.append(item[1])
        elif line.strip() and not line.lstrip().startswith("#"):
            break
    return items


def _dedented(lines: list[str]) -> tuple[str, ...]:
    return tuple(textwrap.dedent("\n".join(lines)).split("\n"))


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _plain(item: str) -> str:
    return " ".join(item.strip().strip("\"'").split())
