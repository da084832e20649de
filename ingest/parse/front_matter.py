"""Lists in a YAML head, in the three forms that people write them; no YAML reader, as the head is untrusted.

tags: hr, travel          tags: [hr, "travel"]          tags:
                                                          - hr
                                                          - travel
"""

import re

MAX_ITEMS = 50
MAX_ITEM_CHARACTERS = 200
ITEM = re.compile(r"[ \t]*-[ \t]+(.+)")


def read_list(head: str, key: str) -> tuple[str, ...]:
    """The items under `key`, each once, in order; empty where the key is missing. What is too long is left out."""
    lines = head.splitlines()
    start = next((index for index, line in enumerate(lines) if line.partition(":")[0].rstrip() == key), None)
    if start is None or ":" not in lines[start]:
        return ()
    value = _without_comment(lines[start].partition(":")[2])
    written = value.strip("[]").split(",") if value else _items_below(lines[start + 1 :])
    items = [_plain(item) for item in written]
    return tuple(dict.fromkeys(item for item in items if 0 < len(item) <= MAX_ITEM_CHARACTERS))[:MAX_ITEMS]


def _items_below(lines: list[str]) -> list[str]:
    items: list[str] = []
    for line in lines:
        found = ITEM.fullmatch(line)
        if not found:
            break
        items.append(_without_comment(found[1]))
    return items


def _without_comment(value: str) -> str:
    return re.sub(r"(?:^|\s)#.*", "", value).strip()


def _plain(item: str) -> str:
    return " ".join(item.strip().strip("\"'").split())
