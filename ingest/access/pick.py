"""Which rules an admin means to lift. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from config.errors import NotFoundError
from ingest.access.rules import Rule, RuleKind


@dataclass(frozen=True, slots=True)
class Choice:
    """One of: the knowledge base's own rule (nothing else named), a folder's with all its patterns, a document's, or
    all that no file states any more.
    """

    knowledge_base: str
    folder: str = ""
    document: str = ""
    is_stale: bool = False


def pick_rules(rules: Sequence[Rule], choice: Choice) -> list[Rule]:
    """Raises NotFoundError where there is no such rule."""
    chosen = [rule for rule in rules if rule.knowledge_base == choice.knowledge_base and _is_meant(rule, choice)]
    if not chosen:
        what = choice.folder or choice.document or ("a rule without a file" if choice.is_stale else "the whole of it")
        raise NotFoundError(
            f"{choice.knowledge_base} has no access rule for {what!r}.", hint="housevoice access list shows them."
        )
    return chosen


def _is_meant(rule: Rule, choice: Choice) -> bool:
    if choice.is_stale:
        return bool(rule.problem)
    if choice.folder:
        return rule.kind is RuleKind.FOLDER and rule.place == (choice.folder.rstrip("/") or "/")
    if choice.document:
        return rule.kind is RuleKind.DOCUMENT and rule.place == choice.document
    return rule.kind is RuleKind.KNOWLEDGE_BASE
