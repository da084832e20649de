"""Is one chunk a near-duplicate of another? Pure, and careful: what tells two facts apart keeps both chunks.

Likeness is the resemblance of word shingles (Broder, SEQUENCES 1997): the Jaccard index of the sets of three words in a
row. It alone would drop the wrong chunk: two warranties, or two rows of a price list, may differ in one number only. So
equal *tell-tale* words are asked for first: those with a digit or a capital letter, and negations. Two chunks that
differ in such a word are never duplicates, however much else they share; that some true duplicates are kept is the
price. Paraphrases are not looked for.
"""

import re
from collections import Counter
from dataclasses import dataclass

from ingest.documents import Chunk, Document

SHINGLE_WORDS = 3
NEGATIONS = frozenset(
    re.findall(r"\w+", "no not never nor none nothing without cannot except kein keine keinen nicht nie niemals ohne")
)
NEGATED = re.compile(r"n['’]t\b")
WORD = re.compile(r"\w+(?:[.,:/-]\w+)*")
"""A number with its separators is one word: 1.5 is not 15, and 2026-01-14 is one date."""


@dataclass(frozen=True, slots=True)
class Features:
    """What is compared of a chunk. Case and white space do not count."""

    text: str
    tell_tales: Counter[str]
    numbers_above: frozenset[str]
    shingles: frozenset[tuple[str, ...]]


def features_of(chunk: Chunk, document: Document) -> Features:
    """numbers_above: words with a digit in title and headings, such as a product, a version or a year."""
    words = WORD.findall(chunk.text)
    above = WORD.findall(" ".join((document.title, *chunk.heading_path)))
    lower = [word.lower() for word in words]
    tell_tales = Counter(word.lower() for word in words if _tells(word))
    tell_tales["n't"] += len(NEGATED.findall(chunk.text))
    return Features(
        text=" ".join(chunk.text.lower().split()),
        tell_tales=tell_tales,
        numbers_above=frozenset(word.lower() for word in above if _has_digit(word)),
        shingles=frozenset(zip(*(lower[start:] for start in range(SHINGLE_WORDS)), strict=False)),
    )


def is_duplicate(one: Features, other: Features, threshold: float) -> bool:
    """threshold: resemblance from 0 to 1 from which two chunks say the same; 1 means equal texts only."""
    if one.numbers_above != other.numbers_above:
        return False
    if one.text == other.text:
        return True
    return one.tell_tales == other.tell_tales and resemblance(one, other) >= threshold


def resemblance(one: Features, other: Features) -> float:
    """0 where either is too short to have a shingle."""
    shared, either = len(one.shingles & other.shingles), len(one.shingles | other.shingles)
    return shared / either if one.shingles and other.shingles else 0.0


def _tells(word: str) -> bool:
    return word != word.lower() or _has_digit(word) or word in NEGATIONS


def _has_digit(word: str) -> bool:
    return any(character.isdigit() for character in word)
