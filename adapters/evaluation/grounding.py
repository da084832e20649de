"""Is each sentence of an answer supported by a source that it cites?

The shape of the measures is that of ALCE (Gao et al. 2023, arXiv 2305.14627). Support is told from the words: all
numbers and names of a sentence and most of its other words occur in the source. That finds invented figures, swapped
names and citations of the wrong place. It does not see a negation turned round, nor two true numbers exchanged, and it
counts a free paraphrase as unsupported; a model that judges entailment would, and would not run here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from adapters.evaluation.questions import Answer
from adapters.format_rules import NUMBER
from config.brands import FormatRules

SUPPORTED_SHARE = 0.6
MIN_WORDS = 2
SENTENCE_END = re.compile(r"[.!?][\"'”’)]*(?:\s*\[\d+\])*(?=\s|$)|\n")
MARKER = re.compile(r"\s*\[\d+\]")
WORD = re.compile(r"[^\W\d_][\w'’-]*|\d[\w.,:/-]*\w|\d")
COMMON = frozenset(
    re.findall(
        r"\w+",
        "about after also been before from have here into more most only other over same such than that their"
        " them then there these they this those until very what when where which while will with would your yours must"
        " should could does each every within",
    )
)


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence that states something, without markers and without the beginning that the brand's form demands.

    cited: places in `Answer.sources` of the sources that this sentence names.
    """

    text: str
    cited: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Grounding:
    """Shares from 0 to 1; None where the answer has nothing to count.

    grounded: of the claims, those that one of all the cited sources supports. recall: of the claims, those that the
    sources cited in the same sentence support. precision: of the citations, those that support their sentence.
    """

    grounded: float | None
    recall: float | None
    precision: float | None
    unsupported: tuple[str, ...] = ()


def ground(answer: Answer, rules: FormatRules) -> Grounding:
    claims = claims_of(answer, rules)
    sources = [source.everything for source in answer.sources]
    cited = {marker.source for marker in answer.markers}
    is_grounded = [any(supports(sources[place], claim.text) for place in cited) for claim in claims]
    is_recalled = [any(supports(sources[place], claim.text) for place in claim.cited) for claim in claims]
    is_precise = [supports(sources[place], claim.text) for claim in claims for place in claim.cited]
    return Grounding(
        grounded=_share(is_grounded),
        recall=_share(is_recalled),
        precision=_share(is_precise),
        unsupported=tuple(claim.text for claim, holds in zip(claims, is_grounded, strict=True) if not holds),
    )


def claims_of(answer: Answer, rules: FormatRules) -> list[Claim]:
    """Sentences with a number, a name or at least two words of content; a greeting or sign-off of the form is none."""
    claims = []
    for start, end in _spans(answer.text):
        text = _bare(answer.text[start:end], rules)
        if _is_claim(text):
            inside = (marker.source for marker in answer.markers if start <= marker.start < end)
            claims.append(Claim(text, tuple(dict.fromkeys(inside))))
    return claims


def supports(source: str, claim: str) -> bool:
    """All numbers and names of the claim, and most of its other words, occur in the source."""
    known_numbers = set(NUMBER.findall(source))
    if any(number not in known_numbers for number in NUMBER.findall(claim)):
        return False
    known = {_stem(word) for word in WORD.findall(source)}
    words = WORD.findall(claim)
    names = [word for place, word in enumerate(words) if place and word[0].isupper()]
    content = [word for word in words if _is_content(word)]
    if any(_stem(name) not in known for name in names):
        return False
    return sum(_stem(word) in known for word in content) >= SUPPORTED_SHARE * len(content)


def _spans(text: str) -> Iterable[tuple[int, int]]:
    start = 0
    for found in SENTENCE_END.finditer(text):
        yield start, found.end()
        start = found.end()
    yield start, len(text)


def _bare(sentence: str, rules: FormatRules) -> str:
    """Without markers and without the beginning of its line, where the form demands one."""
    text = MARKER.sub("", sentence).strip()
    starts = sorted((*rules.lines, *rules.sections), key=len, reverse=True)
    start = next((start for start in starts if f"{text} ".startswith(start)), "")
    return text[len(start.rstrip()) :].strip()


def _is_claim(text: str) -> bool:
    return bool(NUMBER.search(text)) or sum(_is_content(word) for word in WORD.findall(text)) >= MIN_WORDS


def _is_content(word: str) -> bool:
    return len(word) > 3 and word[0].isalpha() and word.lower() not in COMMON


def _stem(word: str) -> str:
    """Plural and the commonest endings fold together; enough to compare a sentence with what it was taken from."""
    lower = word.lower().strip("'’-")
    for ending in ("ing", "ed", "es", "s"):
        if lower.endswith(ending) and len(lower) - len(ending) > 3:
            return lower[: -len(ending)].rstrip("e")
    return lower.rstrip("e")


def _share(holds: list[bool]) -> float | None:
    return sum(holds) / len(holds) if holds else None
