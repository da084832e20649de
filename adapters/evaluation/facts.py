"""Is it a refusal, and does it hold the fact? String checks of one answer."""

import re

from adapters.format_rules import numbers_in
from config.brands import Brand

NUMBERS = re.compile(r"\d+(?:[.,:]\d+)*")
WORDS_SHARE = 0.7


def refuses(answer: str, brand: Brand) -> bool:
    """Does the answer open as the refusal does? Its first line decides, so that a kind closing does not count."""
    first = brand.refusal.strip().partition("\n")[0]
    return bool(first) and flat(answer).startswith(flat(first))


def contains_fact(answer: str, fact: str) -> bool:
    """All numbers of the fact occur in the answer; a fact without numbers must occur by most of its words."""
    numbers = NUMBERS.findall(fact)
    if numbers:
        found = set(NUMBERS.findall(answer))
        return all(number in found for number in numbers)
    words = [word for word in flat(fact).split() if len(word) > 2]
    present = set(flat(answer).split())
    return sum(word in present for word in words) >= WORDS_SHARE * len(words)


def fact_of(reference: str) -> str:
    """For pairs that state none: the numbers of the written answer; empty where it has no numbers."""
    return " ".join(sorted(numbers_in(reference)))


def untold(fact: str, question: str) -> str:
    """What of a fact its question does not already say: only that can leak. Empty where nothing is left."""
    said = set(NUMBERS.findall(question)) | set(flat(question).split())
    numbers = [number for number in NUMBERS.findall(fact) if number not in said]
    if numbers or NUMBERS.search(fact):
        return " ".join(numbers)
    return " ".join(word for word in flat(fact).split() if len(word) > 2 and word not in said)


def flat(text: str) -> str:
    """Lower-case words with one blank between them."""
    return " ".join(re.sub(r"[^\w\s]", " ", text.lower()).split())
