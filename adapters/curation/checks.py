"""What may be wrong with an example set. Pure: rows in, findings out, each with its rows and what to do."""

import itertools
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from adapters.curation.rows import Row
from adapters.format_rules import CITATION, brand_violations, numbers_in
from config.brands import Brand

STOP_BELOW, USEFUL_FROM, USEFUL_TO = 50, 100, 500
"""Rows: below the first an adapter learns the rows, not the voice; between the others is the useful range."""

NEAR = 0.8
"""Jaccard similarity of word pairs from which two texts count as nearly the same."""

OUTLIER = 4.0
"""Median absolute deviations of the answers' lengths."""

MIN_REFUSALS = 0.05
WORD = re.compile(r"\w+")
NAME = re.compile(r"(?<![.!?:]\s)(?<!^)(?<!\n)\b[A-ZÄÖÜ][\w'-]+(?:\s+[A-ZÄÖÜ][\w'-]+)+")
STARTS = frozenset(
    [
        "The",
        "A",
        "An",
        "At",
        "In",
        "On",
        "For",
        "From",
        "To",
        "Our",
        "Your",
        "Their",
        "If",
        "When",
        "By",
        "Since",
        "Until",
        "Only",
        "No",
    ]
)
SECRETS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    ("an API key", re.compile(r"\b(?:sk|pk|ghp|gho|xox[abp]|hv)[-_][A-Za-z0-9_-]{16,}\b|\bAKIA[0-9A-Z]{16}\b")),
    ("a password", re.compile(r"(?i)\b(?:password|passwort|passwd|pwd)\s*[:=]\s*\S{4,}")),
    ("an e-mail address", re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]+\b")),
    ("a phone number", re.compile(r"(?<![\w.])(?:\+|00)\d[\d ()/-]{7,}\d\b")),
    ("an IBAN", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")),
    ("a card number", re.compile(r"\b(?:\d[ -]?){13,19}\b")),
)


class Kind(StrEnum):
    TOO_FEW = "too_few"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    LEAK = "leak"
    CONTRADICTION = "contradiction"
    LENGTH = "length"
    UNSUPPORTED = "unsupported"
    PRIVATE = "private"
    FORMAT = "format"
    COVERAGE = "coverage"


MENDED = frozenset({Kind.DUPLICATE, Kind.LEAK})
"""Mended by leaving the row out; all others are for a person to decide."""

MEANINGS = {
    Kind.TOO_FEW: "Rows needed",
    Kind.DUPLICATE: "The same question and answer again",
    Kind.NEAR_DUPLICATE: "Nearly the same row",
    Kind.LEAK: "Stands in training and in the held-out rows: the held-out figures would flatter",
    Kind.CONTRADICTION: "The same question with other facts",
    Kind.LENGTH: "Much longer or shorter than the others",
    Kind.UNSUPPORTED: "Facts that stand in none of its sources: training would have to memorise them",
    Kind.PRIVATE: "Personal data or a secret",
    Kind.FORMAT: "Breaks the brand's format rules",
    Kind.COVERAGE: "Kinds of questions",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """line: 0 for the set as a whole. others: lines that it is about as well. is_stop: do not train like this."""

    kind: Kind
    line: int
    text: str
    others: tuple[int, ...] = ()
    is_stop: bool = False


def check_rows(rows: Sequence[Row], brand: Brand | None) -> list[Finding]:
    """By line within each kind. `brand`: for its format rules and refusal."""
    training = [row for row in rows if row.split == "train"]
    checks: list[Iterable[Finding]] = [
        too_few(training),
        duplicates(rows),
        near_duplicates(training),
        leaks(rows),
        contradictions(rows),
        length_outliers(training),
        unsupported(rows, brand.refusal if brand else ""),
        private(rows),
        broken_format(rows, brand) if brand else (),
        coverage(training, brand),
    ]
    order = list(Kind)
    found = [finding for check in checks for finding in check]
    return sorted(found, key=lambda finding: (order.index(finding.kind), finding.line))


def too_few(training: Sequence[Row]) -> Iterator[Finding]:
    count = len(training)
    if count < STOP_BELOW:
        text = f"{count} training rows; below {STOP_BELOW} an adapter learns the rows, not the voice. Write more first."
        yield Finding(Kind.TOO_FEW, 0, text, is_stop=True)
    elif count < USEFUL_FROM:
        yield Finding(Kind.TOO_FEW, 0, f"{count} training rows; {USEFUL_FROM} to {USEFUL_TO} is the useful range.")


def duplicates(rows: Sequence[Row]) -> Iterator[Finding]:
    """Within one split; across splits they are leaks."""
    first: dict[tuple[str, str, str], int] = {}
    for row in rows:
        key = (row.split, _flat(row.conversation), _flat(row.answer))
        if key in first:
            yield Finding(Kind.DUPLICATE, row.line, f"the same as line {first[key]}", (first[key],))
        else:
            first[key] = row.line


def near_duplicates(rows: Sequence[Row]) -> Iterator[Finding]:
    for row, other, share in _alike(rows, lambda row: f"{row.conversation}\n{row.answer}"):
        if _flat(row.conversation + row.answer) != _flat(other.conversation + other.answer):
            text = f"{share:.0%} the same as line {other.line}"
            yield Finding(Kind.NEAR_DUPLICATE, row.line, text, (other.line,))


def leaks(rows: Sequence[Row]) -> Iterator[Finding]:
    """Training rows whose question is asked by a held-out row as well, word for word or nearly."""
    held_out = [row for row in rows if row.split != "train"]
    by_line = {row.line for row in held_out}
    for row, other, share in _alike(rows, lambda row: row.conversation):
        if (row.line in by_line) != (other.line in by_line):
            train, held = (other, row) if row.line in by_line else (row, other)
            text = f"{share:.0%} the question of the {held.split} row in line {held.line}"
            yield Finding(Kind.LEAK, train.line, text, (held.line,), is_stop=True)


def contradictions(rows: Sequence[Row]) -> Iterator[Finding]:
    """The same question with different numbers in the answer."""
    by_question: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_question[_flat(row.conversation)].append(row)
    for same in by_question.values():
        for row in same[1:]:
            mine, theirs = numbers_in(row.answer), numbers_in(same[0].answer)
            if mine and theirs and not mine & theirs:
                text = f"answers {_list(mine)} where line {same[0].line} answers {_list(theirs)}"
                yield Finding(Kind.CONTRADICTION, row.line, text, (same[0].line,))


def length_outliers(rows: Sequence[Row]) -> Iterator[Finding]:
    lengths = [len(row.answer.split()) for row in rows]
    if len(lengths) < 10:
        return
    middle = statistics.median(lengths)
    spread = max(statistics.median(abs(length - middle) for length in lengths), 0.15 * middle, 3.0)
    for row, length in zip(rows, lengths, strict=True):
        if abs(length - middle) > OUTLIER * spread:
            yield Finding(Kind.LENGTH, row.line, f"{length} words; half of the answers have {middle:.0f} or fewer")


def unsupported(rows: Sequence[Row], refusal: str) -> Iterator[Finding]:
    for row in rows:
        if not row.support or row.answer.strip() == refusal.strip():
            continue
        support = _flat(row.support)
        missing = {
            fact for fact in facts_in(row.answer) if _flat(fact) not in support and _flat(fact) not in _flat(refusal)
        }
        if missing:
            yield Finding(Kind.UNSUPPORTED, row.line, f"{_list(missing)} in the answer, in none of its sources")


def private(rows: Sequence[Row]) -> Iterator[Finding]:
    for row in rows:
        for what, pattern in SECRETS:
            match = pattern.search(f"{row.conversation}\n{row.answer}")
            if match and (what != "a card number" or _is_card(match[0])):
                yield Finding(Kind.PRIVATE, row.line, f"{what}: {_masked(match[0])}")


def broken_format(rows: Sequence[Row], brand: Brand) -> Iterator[Finding]:
    for row in rows:
        is_refusal = row.answer.strip() == brand.refusal.strip()
        broken = brand_violations(row.answer, brand, is_refusal=is_refusal)
        if broken:
            yield Finding(Kind.FORMAT, row.line, "; ".join(broken))


def coverage(rows: Sequence[Row], brand: Brand | None) -> Iterator[Finding]:
    """Refusals are taught or they do not come; a question with a turn before it is read otherwise than one without."""
    if brand and brand.knowledge_bases and rows:
        refusals = sum(row.answer.strip() == brand.refusal.strip() for row in rows)
        if refusals < MIN_REFUSALS * len(rows):
            text = (
                f"{refusals} of {len(rows)} rows refuse; with fewer than {MIN_REFUSALS:.0%} a voice answers everything."
            )
            yield Finding(Kind.COVERAGE, 0, text)
    if rows and not any(len(row.messages) > 2 for row in rows):
        yield Finding(
            Kind.COVERAGE, 0, "No row is a follow-up: what a voice does in a conversation is left to the base."
        )


def _alike(rows: Sequence[Row], text: Callable[[Row], str]) -> Iterator[tuple[Row, Row, float]]:
    """Each row with the most similar earlier one, where they are NEAR, and how similar (Broder 1997: resemblance)."""
    places: dict[tuple[str, ...], list[int]] = defaultdict(list)
    grams: list[frozenset[tuple[str, ...]]] = []
    for number, row in enumerate(rows):
        own = _word_pairs(text(row))
        shared: dict[int, int] = defaultdict(int)
        for gram in own:
            for other in places[gram]:
                shared[other] += 1
        best = max(shared, key=lambda other: shared[other] / len(own | grams[other]), default=None)
        if best is not None and (share := shared[best] / len(own | grams[best])) >= NEAR:
            yield row, rows[best], share
        for gram in own:
            places[gram].append(number)
        grams.append(own)


def _word_pairs(text: str) -> frozenset[tuple[str, ...]]:
    words = WORD.findall(text.lower())
    return frozenset(itertools.pairwise(words)) or frozenset({tuple(words)})


def facts_in(answer: str) -> set[str]:
    """Its numbers and the words of its names: what cannot be said without knowing it."""
    return numbers_in(answer) | _name_words(answer)


def _name_words(text: str) -> set[str]:
    """Words of names: capitalised ones that stand together, without what begins a sentence."""
    found = (name.split() for name in NAME.findall(CITATION.sub("", text)))
    return {word for words in found for word in words if word not in STARTS}


def _flat(text: str) -> str:
    return " ".join(text.lower().split())


def _list(items: Iterable[str]) -> str:
    shown = sorted(items)
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def _masked(text: str) -> str:
    """Enough to find it, too little to use it."""
    return text if len(text) < 8 else f"{text[:4]}…{text[-2:]}"


def _is_card(text: str) -> bool:
    """Luhn's check digit."""
    digits = [int(character) for character in text if character.isdigit()]
    doubled = [digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(reversed(digits))]
    return 13 <= len(digits) <= 19 and sum(doubled) % 10 == 0
