"""From examples to token rows: what is prefilled, what is trained, and on which tokens the loss lies.

[ prefix: base alone, no gradient | suffix: adapter on ............................ ]
  system, sources, earlier turns  | instructions, question, assistant | answer, end
                                  ^ voice boundary                    ^ loss from here
"""

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.examples import MAX_SHOWN, Example
from config.errors import BadRequestError
from config.prompt import Encode, Segment, TurnFormat, encode_segments, render


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One example in tokens. The last `num_answer_tokens` of `suffix` carry the loss; at least one stands before."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    num_answer_tokens: int

    @property
    def num_tokens(self) -> int:
        return len(self.prefix) + len(self.suffix)


def build_rows(
    examples: Sequence[Example], turn_format: TurnFormat, encode: Encode, *, max_tokens: int
) -> tuple[TrainingRow, ...]:
    """Render every example as serving does, the answer closed by the model's end of turn.

    Raises BadRequestError that names the rows longer than `max_tokens`.
    """
    rows = tuple(_build_row(example, turn_format, encode) for example in examples)
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
    return rows


def _build_row(example: Example, turn_format: TurnFormat, encode: Encode) -> TrainingRow:
    prompt = render(example.conversation, turn_format, encode)
    answer = [*encode(example.answer, False), *end_of_turn(turn_format, encode)]
    shared, voiced = prompt.tokens[: prompt.voice_boundary], prompt.tokens[prompt.voice_boundary :]
    return TrainingRow(shared, (*voiced, *answer), len(answer))


def end_of_turn(turn_format: TurnFormat, encode: Encode) -> list[int]:
    """The one token that ends an answer: the first of what the template puts behind it."""
    return encode_segments([Segment(turn_format.assistant_close, is_template=True)], encode)[:1]
