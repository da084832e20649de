"""General ability: forty small questions with answers that code can check, asked before and after.

They say whether an adapter has cost the base something (forgetting), not how able the base is. Asked as plain chat
through /v1/completions, without the brand's words, documents or form, with the adapter on over the whole prompt: more
than serving ever does, as there it is on from the last question only.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from pydantic import BaseModel, ConfigDict

from adapters.evaluation.statistics import Difference, Interval, Values, mean, paired_difference

FILE = "ability.jsonl"
MAX_TOKENS = 32
NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")
CHOICE = re.compile(r"(?<!\w)[A-D](?!\w)")

Check = Literal["words", "number", "choice", "json", "lines", "upper"]


class Item(BaseModel):
    """check: how `expected` is looked for.

    words: one of the alternatives (parted by "|") occurs as whole words. number: the last number said is it. choice:
    the first capital A to D standing alone. json: a JSON object with that key. lines: so many lines that are not empty.
    upper: that word occurs, and no letter is small.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    kind: str
    question: str
    check: Check
    expected: str


@dataclass(frozen=True, slots=True)
class Ability:
    """Right answers of the base and of the version on the same items; lost: base minus version."""

    items: tuple[Item, ...]
    base: tuple[str, ...]
    version: tuple[str, ...]
    before: Interval | None
    after: Interval | None
    lost: Difference | None


@cache
def ability_items() -> tuple[Item, ...]:
    text = (resources.files("adapters") / "evaluation" / FILE).read_text(encoding="utf-8")
    return tuple(Item.model_validate(json.loads(line)) for line in text.splitlines() if line.strip())


def compare(items: Sequence[Item], base: Sequence[str], version: Sequence[str]) -> Ability:
    """base, version: what each said, in the items' order."""
    before, after = right(items, base), right(items, version)
    return Ability(
        tuple(items), tuple(base), tuple(version), mean(before), mean(after), paired_difference(before, after)
    )


def right(items: Sequence[Item], answers: Sequence[str]) -> Values:
    return [float(is_right(item, answer)) for item, answer in zip(items, answers, strict=True)]


def is_right(item: Item, answer: str) -> bool:
    match item.check:
        case "words":
            return any(_occurs(words, answer) for words in item.expected.split("|"))
        case "number":
            return [found.replace(",", "") for found in NUMBER.findall(answer)][-1:] == [item.expected]
        case "choice":
            return CHOICE.findall(answer)[:1] == [item.expected]
        case "json":
            return item.expected in _json_object(answer)
        case "lines":
            return len([line for line in answer.splitlines() if line.strip()]) == int(item.expected)
        case "upper":
            return item.expected in answer and answer.upper() == answer


def _occurs(words: str, answer: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", answer, re.IGNORECASE) is not None


def _json_object(answer: str) -> dict[str, object]:
    text = answer.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
