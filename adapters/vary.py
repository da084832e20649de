"""Changes to training examples after which they cannot be answered from memory, nor from a source's place.

A fact belongs in the sources, not in the weights. Changing the numbers of a source and of its answer alike leaves
reading as the only way to be right: entity substitution for faithful reading (Longpre et al. 2021, arXiv 2109.05052),
kept to numbers, which never break grammar. Shuffled sources keep the model from always citing the first.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from adapters.examples import CITATION, Example, renumbered
from config.prompt import Source

NUMBER = re.compile(r"(?<![\w.,:\[#/-])\d+(?:[.,:]\d+)*(?![\w\]/-]|[.,:]\d)")
TIME = re.compile(r"[0-2]?\d:[0-5]\d")
YEAR = re.compile(r"(?:19|20)\d\d")


def vary_examples(
    examples: Sequence[Example], *, shuffle_share: float, number_share: float, seed: int
) -> tuple[Example, ...]:
    """Every example once, some with shuffled sources, some with other numbers, chosen apart from each other.

    The choice depends on the seed and the example's place in the list, so that brands with the same questions and
    sources keep sharing their prefixes.
    """
    varied = []
    for place, example in enumerate(examples):
        chance = random.Random(f"{seed}-{place}")
        is_shuffled, has_other_numbers = chance.random() < shuffle_share, chance.random() < number_share
        changed = shuffle_sources(example, chance.randrange(2**31)) if is_shuffled else example
        varied.append(vary_numbers(changed, chance.randrange(2**31)) if has_other_numbers else changed)
    return tuple(varied)


def shuffle_sources(example: Example, seed: int) -> Example:
    """The sources in another order, with the answer citing their new numbers."""
    sources = list(example.conversation.sources)
    random.Random(seed).shuffle(sources)
    shuffled = replace(example, conversation=replace(example.conversation, sources=tuple(sources)))
    return renumbered(shuffled, range(1, len(sources) + 1))


def vary_numbers(example: Example, seed: int) -> Example:
    """The same example with other numbers in the sources that its answer cites, and in the answer.

    Numbers of the question and of titles stay (they name things), and so do years. What becomes of a source depends on
    the seed and the source alone, so that brands with the same questions share its prefix.
    """
    cited = {int(number) for number in CITATION.findall(example.answer)}
    sources = [source for source in example.conversation.sources if source.number in cited]
    mapping = _new_numbers(example, sources, random.Random(seed))
    if not mapping:
        return example
    varied = tuple(
        replace(source, text=_swap(source.text, mapping)) if source.number in cited else source
        for source in example.conversation.sources
    )
    return replace(
        example,
        conversation=replace(example.conversation, sources=varied),
        answer=_swap(example.answer, mapping),
    )


def _new_numbers(example: Example, sources: list[Source], generator: random.Random) -> dict[str, str]:
    named = " ".join(
        [turn.content for turn in example.conversation.turns] + [f"{s.title} {s.heading}" for s in sources]
    )
    kept = set(NUMBER.findall(named))
    found = dict.fromkeys(number for source in sources for number in NUMBER.findall(source.text))
    taken = kept | set(found)
    mapping: dict[str, str] = {}
    for number in found:
        if number not in kept and not YEAR.fullmatch(number):
            mapping[number] = _another(number, taken, generator)
            taken.add(mapping[number])
    return mapping


def _another(number: str, taken: set[str], generator: random.Random) -> str:
    """A number of the same shape that does not occur yet; after some tries a longer one, so that this always ends."""
    for attempt in range(50):
        candidate = _like(number + "0" * (attempt // 25), generator)
        if candidate not in taken:
            return candidate
    return number


def _like(number: str, generator: random.Random) -> str:
    if TIME.fullmatch(number):
        return f"{generator.randrange(6, 21):02d}:{generator.randrange(0, 60, 5):02d}"
    digits = [str(generator.randrange(10)) if character.isdigit() else character for character in number]
    digits[0] = str(generator.randrange(1, 10)) if number[0] != "0" else "0"
    return "".join(digits)


def _swap(text: str, mapping: dict[str, str]) -> str:
    return NUMBER.sub(lambda match: mapping.get(match[0], match[0]), text)
