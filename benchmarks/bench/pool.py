"""What is asked about: chunks of text, and which of them each question draws. Pure, and the same for one seed.

Chunks are put together from the sample company's sentences, so tokens are those of real documents and there are as many
chunks as a run needs, no two alike.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SENTENCE = re.compile(r"[^.!?\n#|*`]{30,160}[.!?]")
ASKED = (
    "What does the {} say?",
    "Which rule holds for the {}?",
    "Who decides about the {}?",
    "When does the {} apply?",
    "How is the {} handled?",
)
TOPICS = ("allowance", "delivery", "inspection", "cold store", "refund", "contract", "schedule", "audit", "trial day")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A document of one chunk."""

    path: str
    text: str


def sentences_of(folder: Path) -> list[str]:
    """Whole sentences of the Markdown files below a folder, in a fixed order, each once."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.md"))]
    found = [" ".join(sentence.split()) for text in texts for sentence in SENTENCE.findall(text)]
    return list(dict.fromkeys(found))


def make_chunks(sentences: Sequence[str], count: int, num_tokens: int, measure: Callable[[str], int]) -> list[Chunk]:
    """`count` chunks of at most `num_tokens` tokens; one sentence more would be too long. The first ones are the same
    however many are made.
    """
    return [
        Chunk(f"piece-{number:04d}.txt", _fill(random.Random(number), sentences, num_tokens, measure))
        for number in range(count)
    ]


def _fill(chance: random.Random, sentences: Sequence[str], num_tokens: int, measure: Callable[[str], int]) -> str:
    text = ""
    for sentence in chance.sample(sentences, len(sentences)):
        longer = f"{text} {sentence}".strip()
        if measure(longer) > num_tokens:
            break
        text = longer
    return text


def zipf_draw(chance: random.Random, num_items: int, count: int) -> list[int]:
    """`count` different items in random order; item n is drawn with weight 1 / (n + 1)."""
    left = list(range(num_items))
    drawn = []
    for _ in range(count):
        place = chance.choices(range(len(left)), [1 / (item + 1) for item in left])[0]
        drawn.append(left.pop(place))
    chance.shuffle(drawn)
    return drawn


def question(chance: random.Random, number: int) -> str:
    """Another one for each number, so that no two prompts are alike to the end."""
    return f"{chance.choice(ASKED).format(chance.choice(TOPICS))} (Request {number}.)"
