"""A brand, questions and a system that says what it is told, all small enough to compute by hand."""

from collections.abc import Callable, Sequence

from adapters.evaluation.questions import Answer, Marker, Question, Source
from adapters.evaluation.run import Ask, Subject
from config.brands import Brand, FormatRules
from config.gate import GateRules
from config.prompt import Turn

REFUSAL = "Dear reader: we do not know.\nYours"
LAMP = Source("lamp.md", "Lamp", "Power", "The lamp draws 40 watts. It was made by Ada Stone in Leeds.")
DOOR = Source("door.md", "Door", "Size", "The door is 2.1 metres high.")


def brand(**gate: object) -> Brand:
    return Brand(
        name="acme",
        knowledge_bases=("company",),
        refusal=REFUSAL,
        format=FormatRules(lines=("Dear reader: ", "Yours")),
        gate=GateRules.model_validate({"min_questions": 4, **gate}),
    )


def question(number: int, *, is_answerable: bool = True, label: str | None = None) -> Question:
    return Question(
        id=f"q{number}",
        kind="fact",
        turns=(Turn("user", f"How many watts does lamp {'abcdefghijklmnopqrstuvwxyz'[number]} draw?"),),
        reference=f"Dear reader: it draws {40 + number} watts [1].\nYours" if is_answerable else REFUSAL,
        documents=("lamp.md",) if is_answerable else (),
        fact=f"{40 + number} watts" if is_answerable else "",
        label=label,
        is_answerable=is_answerable,
    )


def answer(text: str, *sources: Source) -> Answer:
    """Every "[n]" of the text cites the n-th source."""
    markers = []
    for number in range(1, len(sources) + 1):
        start = text.find(f"[{number}]")
        while start >= 0:
            markers.append(Marker(start, start + 3, number - 1))
            start = text.find(f"[{number}]", start + 1)
    return Answer(text, tuple(sorted(markers, key=lambda marker: marker.start)), sources)


class Scripted:
    """Says what a function makes of each request. Remembers what was asked of whom."""

    def __init__(self, says: Callable[[Ask], Answer], plainly: Callable[[str, str], str] = lambda model, q: "") -> None:
        self._says = says
        self._plainly = plainly
        self.asked: list[Ask] = []

    def answers(self, asks: Sequence[Ask], what: str) -> list[Answer]:
        self.asked += asks
        return [self._says(ask) for ask in asks]

    def plain(self, model: str, questions: Sequence[str], what: str) -> list[str]:
        return [self._plainly(model, text) for text in questions]


def subject(active: str | None = None, **gate: object) -> Subject:
    return Subject(brand(**gate), "acme@2", active, "heldout.jsonl", "0" * 64, {})
