"""Does an answer have its brand's form? Deterministic checks of what the brand file declares under [format]."""

import re

from config.brands import FormatRules

CITATION = re.compile(r"\[\d+\]")
NUMBER = re.compile(r"\d[\d.,:/-]*\d|\d")


def violations(answer: str, rules: FormatRules, *, is_refusal: bool = False) -> list[str]:
    """Every broken rule in words; an empty list means that the form is right.

    is_refusal: citations are then not demanded, but refused.
    """
    lines = [line.strip() for line in answer.strip().splitlines() if line.strip()]
    return [
        *_line_order(lines, rules),
        *_citations(lines, rules, is_refusal=is_refusal),
        *[f"lacks {phrase!r}" for phrase in rules.required if phrase not in answer],
        *[f"contains {phrase!r}" for phrase in rules.banned if phrase in answer],
        *_length(answer, rules),
    ]


def _line_order(lines: list[str], rules: FormatRules) -> list[str]:
    """Compare the lines with the declared starts, as one regular expression over line kinds."""
    if not rules.lines:
        return []
    kinds = "".join(_kind(line, rules) for line in lines)
    wanted = "".join(
        f"{chr(97 + index)}{{1,{rules.max_repeats}}}" if start in rules.repeated_lines else chr(97 + index)
        for index, start in enumerate(rules.lines)
    )
    if re.fullmatch(wanted, kinds):
        return []
    return [f"lines do not follow {' / '.join(start.strip() for start in rules.lines)}"]


def _kind(line: str, rules: FormatRules) -> str:
    matching = (index for index, start in enumerate(rules.lines) if f"{line} ".startswith(start))
    index = next(matching, None)
    return "?" if index is None else chr(97 + index)


def _citations(lines: list[str], rules: FormatRules, *, is_refusal: bool) -> list[str]:
    if is_refusal:
        return ["a refusal cites a source"] if any(CITATION.search(line) for line in lines) else []
    cited = [line for line in lines if f"{line} ".startswith(rules.cited_lines)] if rules.cited_lines else []
    return [f"no citation in {line[:40]!r}" for line in cited if not CITATION.search(line)]


def _length(answer: str, rules: FormatRules) -> list[str]:
    num_words = len(answer.split())
    if rules.min_words <= num_words <= rules.max_words:
        return []
    return [f"{num_words} words, outside {rules.min_words} to {rules.max_words}"]


def numbers_in(answer: str) -> set[str]:
    """Numbers, dates and times as they are written, without those of citations: what facts are told apart by."""
    return set(NUMBER.findall(CITATION.sub("", answer)))
