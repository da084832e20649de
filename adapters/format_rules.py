"""Does an answer have its brand's form? Deterministic checks of what the brand file declares under [format]."""

import json
import re
from typing import Any

from config.brands import Brand, FormatRules

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
        *_sections(lines, rules),
        *(_labels(answer, rules) if not is_refusal else ()),
        *_length(answer, rules),
    ]


def brand_violations(answer: str, brand: Brand, *, is_refusal: bool = False) -> list[str]:
    """As `violations`, and for a brand whose output is JSON, whether the answer fits its schema.

    The server refuses such a brand's unanswerable questions in plain text, so a refusal is not held against the schema.
    """
    is_json = brand.output == "json" and not is_refusal
    schema = _schema(answer, brand.json_schema or {}) if is_json else []
    return [*schema, *violations(answer, brand.format, is_refusal=is_refusal)]


def label_of(answer: str, rules: FormatRules) -> str | None:
    """What stands where the label belongs, whether it is one of the taxonomy or not; None where nothing does.

    Case and spacing are those of the taxonomy where a label differs in nothing else.
    """
    found = _label_text(answer, rules.label_at)
    if found is None:
        return None
    flat = " ".join(found.split())
    return next((label for label in rules.labels if label.casefold() == flat.casefold()), flat)


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


def _sections(lines: list[str], rules: FormatRules) -> list[str]:
    """Each begins a line, once and in order; between two of them stands text, on the same line or below."""
    if not rules.sections:
        return []
    starts = [(place, name) for place, line in enumerate(lines) if (name := _section_of(line, rules))]
    if tuple(name for _, name in starts) != rules.sections:
        return [f"sections are not {' / '.join(name.strip() for name in rules.sections)}"]
    ends = [place for place, _ in starts[1:]] + [len(lines)]
    empty = [name for (place, name), end in zip(starts, ends, strict=True) if not _body(lines[place:end], name.strip())]
    return [f"section {name.strip()!r} is empty" for name in empty]


def _section_of(line: str, rules: FormatRules) -> str:
    return next((name for name in rules.sections if f"{line} ".startswith(name)), "")


def _body(lines: list[str], name: str) -> str:
    return " ".join(lines).removeprefix(name).strip()


def _labels(answer: str, rules: FormatRules) -> list[str]:
    if not rules.labels:
        return []
    label = label_of(answer, rules)
    if label is None:
        return [f"no label at {rules.label_at!r}"]
    return [] if label in rules.labels else [f"{label[:60]!r} is no label of the taxonomy"]


def _label_text(answer: str, place: str) -> str | None:
    if not place:
        return answer.strip() or None
    value = _json_value(answer)
    for key in place.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, str):
        return value
    lines = (line.strip() for line in answer.splitlines())
    return next((line.removeprefix(place).strip() for line in lines if line.startswith(place)), None) or None


def _json_value(answer: str) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return None


def _schema(answer: str, schema: dict[str, Any]) -> list[str]:
    """The first place that does not fit. Nothing that a schema refers to is ever fetched."""
    import jsonschema
    import referencing

    value = _json_value(answer)
    if value is None:
        return ["not JSON"]
    checker = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        error = jsonschema.exceptions.best_match(checker(schema, registry=referencing.Registry()).iter_errors(value))
    except (jsonschema.exceptions.SchemaError, referencing.exceptions.Unresolvable, RecursionError) as problem:
        return [f"the brand's json_schema cannot be used: {str(problem)[:120]}"]
    return [f"does not fit the schema at {error.json_path}: {error.message[:120]}"] if error else []


def numbers_in(answer: str) -> set[str]:
    """Numbers, dates and times as they are written, without those of citations: what facts are told apart by."""
    return set(NUMBER.findall(CITATION.sub("", answer)))
