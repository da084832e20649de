"""From examples to token rows: what is prefilled, what is trained, and on which tokens the loss lies.

[ prefix: base alone, no gradient | suffix: adapter on ............................ ]
  system, sources, earlier turns  | instructions, question, assistant | answer, end
                                  ^ voice boundary                    ^ loss from here

Where sources are read as blocks (`config.fact_layout`), they bear lasting numbers as in serving, and the row says where
each begins.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from adapters.examples import MAX_SHOWN, Example, renumbered
from adapters.training.recipe import Lora
from config.errors import BadRequestError
from config.fact_layout import PLAIN, FactLayout, Layout
from config.numbering import lasting_numbers
from config.prompt import Encode, Segment, Source, TurnFormat, encode_segments, render, with_brand_block

USUAL_SHARE = 0.1
"""Of the answers part from the refusal at a place, for it to be one of the refusal's decisions."""


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One example in tokens. The last `num_answer_tokens` of `suffix` carry the loss; at least one stands before.

    `decisions` are the places in the answer, from 0, where an answer parts from the refusal, if there is one. `layout`:
    where the prefix's fact blocks stand.
    """

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    num_answer_tokens: int
    decisions: tuple[int, ...] = ()
    layout: Layout = PLAIN

    @property
    def num_tokens(self) -> int:
        return len(self.prefix) + len(self.suffix)

    @property
    def answer(self) -> tuple[int, ...]:
        return self.suffix[-self.num_answer_tokens :]


def build_rows(
    examples: Sequence[Example],
    turn_format: TurnFormat,
    encode: Encode,
    *,
    max_tokens: int,
    lora: Lora = "activated",
    fact_layout: FactLayout = "exact",
) -> tuple[TrainingRow, ...]:
    """Render every example as serving does, the answer closed by the model's end of turn.

    With a plain LoRA the adapter is on from the first token, so a row's prefix is empty and has no blocks.

    Raises BadRequestError that names the rows longer than `max_tokens`.
    """
    rows = tuple(_build_row(example, turn_format, encode, lora, fact_layout) for example in examples)
    long = [
        f"line {example.line} ({row.num_tokens})"
        for example, row in zip(examples, rows, strict=True)
        if row.num_tokens > max_tokens
    ]
    if long:
        raise BadRequestError(
            f"{len(long)} rows are longer than {max_tokens} tokens: {', '.join(long[:MAX_SHOWN])}.",
            "training_file",
            hint="Shorten them, or raise max_tokens in the recipe.",
        )
    return _marked(rows, [example.conversation.instructions for example in examples])


def _marked(rows: Sequence[TrainingRow], instructions: Sequence[str]) -> tuple[TrainingRow, ...]:
    """Each brand's rows with their decisions; instructions tell the brands of a mixed set apart."""
    marked = list(rows)
    for brand in dict.fromkeys(instructions):
        places = [place for place, own in enumerate(instructions) if own == brand]
        for place, row in zip(places, mark_decisions([rows[place] for place in places]), strict=True):
            marked[place] = row
    return tuple(marked)


def mark_decisions(rows: Sequence[TrainingRow]) -> tuple[TrainingRow, ...]:
    """The rows of one set of instructions, each with the places where it is decided whether to answer or to refuse.

    A refusal is decided wherever a good share of the answers parts from it; the beginning of one counts as one. Without
    any the rows come back as they are.
    """
    refusal = refusal_of(rows)
    if refusal is None:
        return tuple(rows)
    parted = [None if _agree(row.answer, refusal) else _first_difference(row.answer, refusal) for row in rows]
    counts = Counter(place for place in parted if place is not None)
    usual = tuple(sorted(place for place in counts if counts[place] >= USUAL_SHARE * counts.total()))
    return tuple(
        replace(row, decisions=_within(usual, row) if place is None else (place,))
        for row, place in zip(rows, parted, strict=True)
    )


def refusal_of(rows: Sequence[TrainingRow]) -> tuple[int, ...] | None:
    """The answer that occurs most often, at least twice: only a refusal is always word for word the same."""
    answer, times = Counter(row.answer for row in rows).most_common(1)[0] if rows else ((), 0)
    return answer if times > 1 else None


def _agree(answer: Sequence[int], other: Sequence[int]) -> bool:
    """One is the beginning of the other."""
    shorter = min(len(answer), len(other))
    return answer[:shorter] == other[:shorter]


def _within(places: Sequence[int], row: TrainingRow) -> tuple[int, ...]:
    return tuple(place for place in places if place < row.num_answer_tokens)


def _first_difference(answer: Sequence[int], other: Sequence[int]) -> int:
    return next(place for place, (one, two) in enumerate(zip(answer, other, strict=False)) if one != two)


def as_blocks(example: Example) -> Example:
    """As the server puts it where sources are read as blocks: numbers that last, and the brand's words a block too.

    Rows know no chunks, so what is in a source decides about its number.
    """
    numbered = renumbered(example, lasting_numbers([_content(source) for source in example.conversation.sources]))
    return replace(numbered, conversation=with_brand_block(numbered.conversation))


def _content(source: Source) -> str:
    return "\n".join((source.title, source.heading, source.text))


def _build_row(
    example: Example, turn_format: TurnFormat, encode: Encode, lora: Lora, fact_layout: FactLayout
) -> TrainingRow:
    is_in_blocks = fact_layout == "blocks" and lora == "activated"
    example = as_blocks(example) if is_in_blocks else example
    prompt = render(example.conversation, turn_format, encode)
    answer = [*encode(example.answer, False), *(end_of_turn(turn_format, encode) if example.is_whole else ())]
    boundary = 0 if lora == "plain" else prompt.voice_boundary
    shared, voiced = prompt.tokens[:boundary], prompt.tokens[boundary:]
    layout = Layout(prompt.fact_bounds) if is_in_blocks else PLAIN
    return TrainingRow(shared, (*voiced, *answer), len(answer), layout=layout)


def end_of_turn(turn_format: TurnFormat, encode: Encode) -> list[int]:
    """The one token that ends an answer: the first of what the template puts behind it."""
    return encode_segments([Segment(turn_format.assistant_close, is_template=True)], encode)[:1]
