"""May this version be promoted? An evaluation against the thresholds under [gate] in the brand's file."""

from collections.abc import Iterator
from dataclasses import dataclass

from adapters.evaluation.measures import MEASURES
from adapters.evaluation.run import ACTIVE, BASE, CANDIDATE, Evaluation
from adapters.evaluation.statistics import Difference, Interval
from config.brands import Brand
from config.gate import GateRules

LEAST = ("form", "style", "grounded", "citation", "citation_precision", "citation_recall", "fact", "refusal", "correct")
COMPARED = tuple(name for name in MEASURES if name != "wrong_refusal")


@dataclass(frozen=True, slots=True)
class Check:
    """One demand. demand, got: for people. passed: None where it cannot be told and the brand's file is silent."""

    name: str
    demand: str
    got: str
    passed: bool | None

    def __str__(self) -> str:
        return f"{self.name}: {self.got}; demanded: {self.demand}"


@dataclass(frozen=True, slots=True)
class Decision:
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.passed is False)

    @property
    def untold(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.passed is None)

    @property
    def passes(self) -> bool:
        return not self.failed


def decide(evaluation: Evaluation) -> Decision:
    """All checks, in the order in which a person asks."""
    rules = evaluation.subject.brand.gate
    return Decision(
        (
            _enough(evaluation, rules),
            *_least(evaluation, rules),
            *_better(evaluation, rules),
            *_losses(evaluation, rules),
        )
    )


def _enough(evaluation: Evaluation, rules: GateRules) -> Check:
    num = len(evaluation.questions)
    return Check("held-out questions", f"at least {rules.min_questions}", str(num), num >= rules.min_questions)


def _least(evaluation: Evaluation, rules: GateRules) -> Iterator[Check]:
    scores, brand = evaluation.candidate.scores, evaluation.subject.brand
    for name in LEAST:
        least: float = getattr(rules, name)
        if least and _applies(name, brand):
            yield _at_least(name, scores[name], least, rules)
    found = evaluation.confusions.get(CANDIDATE)
    if rules.macro_f1 and found:
        yield _at_least("macro_f1", found.macro_f1, rules.macro_f1, rules)
    refused, most = scores["wrong_refusal"], rules.max_wrong_refusal
    yield Check(
        MEASURES["wrong_refusal"].title,
        f"at most {most:.0%}",
        str(refused or "not measured"),
        refused.value <= most if refused else _untold("max_wrong_refusal", rules),
    )


def _applies(name: str, brand: Brand) -> bool:
    """Labels are for brands that have a taxonomy, citations for brands that have documents."""
    if name == "correct":
        return bool(brand.format.labels)
    return name in ("form", "style", "fact") or bool(brand.knowledge_bases)


def _at_least(name: str, got: Interval | None, least: float, rules: GateRules) -> Check:
    title = MEASURES[name].title if name in MEASURES else "macro-F1"
    passed = got.value >= least if got else _untold(name, rules)
    return Check(title, f"at least {least:.0%}", str(got or "not measured"), passed)


def _better(evaluation: Evaluation, rules: GateRules) -> Iterator[Check]:
    """Intervals must not overlap: a stricter test than a difference above zero, and one that a person can see."""
    for name in rules.better_than_prompt:
        own, base = (evaluation.systems[system].scores[name] for system in (CANDIDATE, BASE))
        yield Check(
            f"{MEASURES[name].title} against the base",
            "an interval above the best prompt's",
            f"{own or 'not measured'} against {base or 'not measured'}",
            own.low > base.high if own and base else _untold("better_than_prompt", rules),
        )


def _losses(evaluation: Evaluation, rules: GateRules) -> Iterator[Check]:
    leak, ability, gap = evaluation.leak, evaluation.ability, evaluation.gap
    yield _loss("facts told without documents", "max_leak", leak.more if leak else None, rules)
    yield _loss("general ability lost", "max_forgetting", ability.lost if ability else None, rules)
    for name in ("form", "fact", "correct"):
        if gap and (more := gap.more[name]):
            yield _loss(f"{MEASURES[name].title}, training above held-out", "max_gap", more, rules)
    for name in COMPARED if ACTIVE in evaluation.systems else ():
        if found := evaluation.against[ACTIVE][name]:
            yield _against_active(name, found, rules.max_loss_to_active)


def _loss(title: str, key: str, lost: Difference | None, rules: GateRules) -> Check:
    most: float = getattr(rules, key)
    passed = _untold(key, rules) if lost is None else not (lost.value > most and lost.low > 0)
    points = f"{lost} points, n={lost.num}" if lost else "not measured"
    return Check(title, f"at most {100 * most:.0f} points beyond chance", points, passed)


def _against_active(name: str, found: Difference, most: float) -> Check:
    """found: candidate minus active."""
    return Check(
        f"{MEASURES[name].title} against the active version",
        f"loses at most {100 * most:.0f} points beyond chance",
        f"{found} points, n={found.num}",
        not (found.value < -most and found.high < 0),
    )


def _untold(key: str, rules: GateRules) -> bool | None:
    """A default that the questions cannot tell is left open; one that the brand's file sets is not met."""
    return False if key in rules.model_fields_set else None
