"""Reading practice: passages with questions turned into the first lines of answers, for a reader adapter.

A small base finds and quotes a sentence poorly, and hardly notices when its sources do not answer. Both are skills, not
facts, so they are learned on invented passages once, and each brand goes on from there. A group holds three siblings:
near-duplicates with other values. Its unanswerable questions are near misses; and each answerable one can be asked
again with its passage taken away (contrast sets, Gardner et al. 2020, arXiv 2004.02709).

    {"passages": [{"title": "...", "heading": "...", "sentences": ["..."], "questions": [["...", 2], ...]}, ...],
     "unanswerable": ["...", ...]}
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from adapters.examples import Example
from config.errors import BadRequestError
from config.prompt import Conversation, Source, Turn

T = TypeVar("T")

EVIDENCE = "{evidence}"
ROW_MARK = "; "
"""Sentences that hold it are rows of a table, each on a line of its own."""


class Passage(BaseModel):
    """One section of a document. Each question names the place of the sentence that answers it, from 0."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    title: str
    heading: str
    sentences: tuple[str, ...]
    questions: tuple[tuple[str, int], ...]

    @model_validator(mode="after")
    def _places_exist(self) -> "Passage":
        for question, place in self.questions:
            if not 0 <= place < len(self.sentences):
                raise ValueError(f"{question!r} names sentence {place} of {len(self.sentences)}")
        return self

    @property
    def text(self) -> str:
        is_table = all(ROW_MARK in sentence for sentence in self.sentences)
        return ("\n" if is_table else " ").join(self.sentences)


class Group(BaseModel):
    """Sibling passages, and questions on their topic that none of them answers."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    passages: tuple[Passage, ...]
    unanswerable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Voice:
    """How a brand begins an answer (with EVIDENCE in it), and how a refusal."""

    instructions: str
    opening: str
    refusal: str


@dataclass(frozen=True, slots=True)
class Shares:
    """How many questions a group gives: on all its passages, and on a set in which one passage is replaced."""

    answerable: int = 12
    unanswerable: int = 9
    withheld: int = 6
    remaining: int = 3


def read_groups(path: Path) -> list[Group]:
    """Raises BadRequestError with file, line and reason."""
    groups = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            groups.append(Group.model_validate(json.loads(line)))
        except json.JSONDecodeError as error:
            raise BadRequestError(f"{path}, line {number}: not valid JSON ({error.msg}).", "training_file") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BadRequestError(f"{path}, line {number}: {where}: {first['msg']}.", "training_file") from error
    return groups


def reading_examples(groups: Sequence[Group], voices: Sequence[Voice], shares: Shares, seed: int) -> list[Example]:
    """Each question once, the voices taking turns. The answers are beginnings: what a voice adds is learned later."""
    chance = random.Random(seed)
    asked = [row for place in range(len(groups)) for row in _questions(groups, place, shares, chance)]
    return [_example(row, voices[number % len(voices)]) for number, row in enumerate(asked)]


@dataclass(frozen=True, slots=True)
class _Question:
    text: str
    sources: tuple[Passage, ...]
    passage: Passage | None = None
    sentence: int = 0


def _questions(groups: Sequence[Group], place: int, shares: Shares, chance: random.Random) -> Iterator[_Question]:
    group = groups[place]
    whole = _shuffled(group.passages, chance)
    for passage, text, sentence in _sample(_answerable(group.passages), shares.answerable, chance):
        yield _Question(text, whole, passage, sentence)
    for text in _sample(group.unanswerable, shares.unanswerable, chance):
        yield _Question(text, whole)
    away = chance.choice(group.passages)
    others = [passage for passage in group.passages if passage is not away]
    stranger = chance.choice(groups[(place + chance.randrange(1, len(groups))) % len(groups)].passages)
    replaced = _shuffled([*others, stranger], chance)
    for _, text, _ in _sample(_answerable([away]), shares.withheld, chance):
        yield _Question(text, replaced)
    for passage, text, sentence in _sample(_answerable(others), shares.remaining, chance):
        yield _Question(text, replaced, passage, sentence)


def _answerable(passages: Sequence[Passage]) -> list[tuple[Passage, str, int]]:
    return [(passage, question, sentence) for passage in passages for question, sentence in passage.questions]


def _sample(items: Sequence[T], number: int, chance: random.Random) -> list[T]:
    return chance.sample(list(items), min(number, len(items)))


def _shuffled(passages: Sequence[Passage], chance: random.Random) -> tuple[Passage, ...]:
    return tuple(chance.sample(list(passages), len(passages)))


def _example(asked: _Question, voice: Voice) -> Example:
    sources = tuple(
        Source(number, passage.title, passage.heading, passage.text) for number, passage in enumerate(asked.sources, 1)
    )
    answer = voice.refusal if asked.passage is None else voice.opening.replace(EVIDENCE, _quoted(asked))
    conversation = Conversation((Turn("user", asked.text),), sources, voice.instructions)
    return Example(conversation, answer, is_whole=False)


def _quoted(asked: _Question) -> str:
    """The sentence with its source's number where `format_source` puts it."""
    assert asked.passage is not None
    sentence = asked.passage.sentences[asked.sentence].rstrip()
    number = next(number for number, passage in enumerate(asked.sources, 1) if passage is asked.passage)
    stop = sentence[-1] if sentence[-1] in ".!?" else "."
    return f"{sentence.rstrip('.!?')} [{number}]{stop}"
