"""What code can tell about an answer when it ends: is it a refusal, and has it the brand's form? Costs microseconds."""

from adapters.evaluation.facts import refuses
from adapters.format_rules import violations
from config.brands import Brand, FormatRules
from server.records import RequestRecord

NO_RULES = FormatRules()


def note_verdict(record: RequestRecord, brand: Brand, *, is_json: bool, has_own_instructions: bool) -> None:
    """Only of an answer that was given. Form is not judged where it was cut off, where the client asked for JSON or
    gave instructions of its own, where the refusal came without generating, and where the brand declares no rules.
    """
    if record.outcome not in ("stop", "length", "refused"):
        return
    answer = record.answer
    record.is_refusal = record.outcome == "refused" or refuses(answer, brand)
    is_judged = record.outcome == "stop" and not is_json and not has_own_instructions and brand.format != NO_RULES
    if is_judged:
        record.is_form_right = not violations(answer, brand.format, is_refusal=record.is_refusal)
