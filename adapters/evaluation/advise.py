"""Should this be trained at all? What the base can do with words alone, and which kind of gap is left.

Five arms, from nothing to everything short of training. What the best of them still lacks is either form and style,
which training gives; or facts that nothing finds, which only documents give; or facts that are found and not said,
which is reading, and a matter of the base more than of a voice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from adapters.evaluation.measures import System, column, system_of
from adapters.evaluation.questions import Answer, Question
from adapters.evaluation.run import Ask, Asks, ask_in_blocks, judged_system, sample, styles_of, with_style
from adapters.evaluation.statistics import Interval, mean
from config.brands import Brand

MIN_ROWS, USEFUL_ROWS = 50, 100
NUM_EXAMPLES = 3
LEAST_FOUND, LEAST_FACT = 0.8, 0.8
"""Shares of the answerable questions: their document is retrieved; their fact is said."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of asking the base. prompt: "plain", the brand's short words on the bare base, or "best", brand@0."""

    name: str
    prompt: str
    has_examples: bool = False
    uses_documents: bool = False


CITING = ("grounded", "citation", "citation_precision", "citation_recall")
PLAIN = Arm("plain prompt", "plain")
ARMS = (
    PLAIN,
    Arm("best prompt", "best"),
    Arm("best prompt, examples", "best", has_examples=True),
    Arm("documents", "best", uses_documents=True),
    Arm("documents, examples", "best", has_examples=True, uses_documents=True),
)


class Action(StrEnum):
    TRAIN = "train"
    WRITE_PAIRS = "write more pairs"
    INGEST = "ingest"
    READ_BETTER = "read better"
    KEEP_PROMPT = "do not train"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing to do, and the figures that say so."""

    action: Action
    reason: str


@dataclass(frozen=True, slots=True)
class Tried:
    """systems: by the arm's name. found: answerable questions whose document was retrieved, None where the questions
    name no documents. absent: documents that the questions name and the index does not hold.
    """

    brand: Brand
    systems: Mapping[str, System]
    found: Interval | None
    absent: tuple[str, ...]
    num_training_rows: int

    @property
    def best(self) -> System:
        """Of the arms that count, with documents where the brand has any: the one with the best form, style and labels.

        Among equals the simpler one.
        """
        return max(self.counted, key=lambda system: _mean_of(system, ("form", "style", "correct")))

    @property
    def counted(self) -> list[System]:
        """The arms that a brand could be served with."""
        uses_documents = bool(self.brand.knowledge_bases)
        return [
            self.systems[arm.name]
            for arm in ARMS
            if arm.prompt == "best" and arm.uses_documents == uses_documents and arm.name in self.systems
        ]


def try_arms(
    asks: Asks,
    brand: Brand,
    base_model: str,
    questions: Sequence[Question],
    training: Sequence[Question],
    known_paths: frozenset[str],
) -> Tried:
    """Ask every arm. training: rows to take examples from. known_paths: of the indexed documents."""
    arms = [arm for arm in ARMS if brand.knowledge_bases or not arm.uses_documents]
    columns = [_asks_of(arm, brand, base_model, questions, training) for arm in arms]
    answers = ask_in_blocks(asks, columns, "the base, asked in several ways")
    systems = {
        arm.name: _system(arm, column[0].model, questions, said, brand)
        for arm, column, said in zip(arms, columns, answers, strict=True)
    }
    styles = styles_of(systems, questions, training, PLAIN.name)
    named = {path for question in questions for path in question.documents or ()}
    return Tried(
        brand=brand,
        systems={name: with_style(system, styles) for name, system in systems.items()},
        found=_found(systems, questions),
        absent=tuple(sorted(named - known_paths)) if brand.knowledge_bases else (),
        num_training_rows=len(training),
    )


def advise(tried: Tried) -> list[Verdict]:
    """What to do, the most urgent first; facts come before style, as a voice cannot mend them."""
    verdicts = [*_knowledge(tried), *_style(tried)]
    return verdicts or [
        Verdict(Action.KEEP_PROMPT, f"“{tried.best.name}” already does it: {_figures(tried.best)}. Keep the prompt.")
    ]


def examples_text(training: Sequence[Question], num: int = NUM_EXAMPLES) -> str:
    """A few training pairs, always the same ones, and one refusal where there is one."""
    answerable = sample([row for row in training if row.is_answerable], num)
    refusals = [row for row in training if not row.is_answerable][:1]
    pairs = [f"Question: {row.text}\nAnswer:\n{row.reference}" for row in (*answerable, *refusals)]
    return "\n\n".join(["Examples of your answers:", *pairs, "Now answer in the same way."]) if pairs else ""


def _system(arm: Arm, model: str, questions: Sequence[Question], answers: Sequence[Answer], brand: Brand) -> System:
    """Who was given no documents is not blamed for citing none."""
    told = judged_system(arm.name, model, questions, answers, brand)
    if arm.uses_documents:
        return told
    bare = [replace(item, values={**item.values, **dict.fromkeys(CITING)}, unsupported=()) for item in told.judged]
    return system_of(arm.name, model, bare)


def _asks_of(
    arm: Arm, brand: Brand, base_model: str, questions: Sequence[Question], training: Sequence[Question]
) -> list[Ask]:
    model = base_model if arm.prompt == "plain" else f"{brand.name}@0"
    parts = [brand.system_prompt if arm.prompt == "plain" else "", examples_text(training) if arm.has_examples else ""]
    instructions = "\n\n".join(part for part in parts if part)
    return [Ask(model, question.turns, arm.uses_documents, instructions) for question in questions]


def _found(systems: Mapping[str, System], questions: Sequence[Question]) -> Interval | None:
    """From the arm that retrieves; which examples stand in the prompt changes nothing about that."""
    retrieving = next((systems[arm.name] for arm in ARMS if arm.uses_documents and arm.name in systems), None)
    if retrieving is None:
        return None
    return mean(
        [
            float(any(source.path in question.documents for source in item.answer.sources))
            for question, item in zip(questions, retrieving.judged, strict=True)
            if question.is_answerable and question.documents
        ]
    )


def _knowledge(tried: Tried) -> list[Verdict]:
    said = max((fact for system in tried.counted if (fact := system.scores["fact"])), key=_value, default=None)
    if tried.absent:
        listed = ", ".join(tried.absent[:5]) + (" and more" if len(tried.absent) > 5 else "")
        reason = f"{len(tried.absent)} documents that the questions name are not in the index: {listed}."
        return [Verdict(Action.INGEST, f"{reason} Facts come from documents; training does not add any.")]
    if tried.found and tried.found.value < LEAST_FOUND:
        reason = f"The right document is retrieved for {tried.found} of the answerable questions."
        return [Verdict(Action.INGEST, f"{reason} See what is missed: housevoice eval retrieval.")]
    if tried.brand.knowledge_bases and said and said.value < LEAST_FACT:
        where = f"found for {tried.found}" if tried.found else "retrieved"
        return [
            Verdict(
                Action.READ_BETTER,
                f"The fact is {where} but said in {said} at best: the base reads badly. A larger base helps most"
                " (housevoice models), reading practice some (docs/adapters.md); a voice alone does not.",
            )
        ]
    return []


def _style(tried: Tried) -> list[Verdict]:
    gate, scores, best = tried.brand.gate, tried.best.scores, tried.best
    demanded = {"form": gate.form, "style": gate.style, "correct": gate.correct}
    short = [name for name, least in demanded.items() if (found := scores[name]) and found.value < least]
    if not short:
        return []
    listed = ", ".join(f"{name} {scores[name]}, demanded {demanded[name]:.0%}" for name in short)
    reason = f"“{best.name}” leaves a gap in style and format: {listed}."
    num = tried.num_training_rows
    if num < MIN_ROWS:
        few = f"{num} pairs are too few: {MIN_ROWS} are the least, {USEFUL_ROWS} to 500 the useful range."
        return [Verdict(Action.WRITE_PAIRS, f"{reason} Training can close it, but {few}")]
    return [Verdict(Action.TRAIN, f"{reason} {num} training pairs can close it.")]


def _figures(system: System) -> str:
    names = ("form", "style", "correct", "fact")
    return ", ".join(f"{name} {found}" for name in names if (found := system.scores[name]))


def _mean_of(system: System, names: Sequence[str]) -> float:
    values = [value for name in names for value in column(system.judged, name) if value is not None]
    return sum(values) / len(values) if values else 0.0


def _value(interval: Interval) -> float:
    return interval.value
