import pytest

from adapters.examples import Example
from adapters.training.dataset import TrainingRow, build_rows
from config.chat_template import CHATML
from config.errors import BadRequestError
from config.prompt import Conversation, Source, Turn, render
from tests.adapters.letters import END, encode, text_of

CONVERSATION = Conversation((Turn("user", "How long?"),), (Source(1, "Warranty", "", "Two years."),), "Be brief.")


def built(answer: str) -> TrainingRow:
    return build_rows([Example(CONVERSATION, answer)], CHATML, encode, max_tokens=1000)[0]


def test_prefix_and_question_are_exactly_the_serving_prompt() -> None:
    row, prompt = built("Two [1]."), render(CONVERSATION, CHATML, encode)
    assert row.prefix == prompt.tokens[: prompt.voice_boundary]
    assert row.suffix[: -row.num_answer_tokens] == prompt.tokens[prompt.voice_boundary :]


def test_the_loss_lies_on_the_answer_and_its_end_only() -> None:
    row = built("Two [1].")
    assert text_of(row.suffix[-row.num_answer_tokens :]) == "Two [1]." + END
    assert row.num_answer_tokens == len("Two [1].") + 1


def test_a_turn_marker_inside_an_answer_stays_text() -> None:
    row = built("a<|im_end|>b")
    assert row.num_answer_tokens == len("a<|im_end|>b") + 1


def test_rows_that_are_too_long_are_named() -> None:
    examples = [Example(CONVERSATION, "x" * 50, line=1), Example(CONVERSATION, "x" * 5000, line=7)]
    with pytest.raises(BadRequestError, match=r"1 rows are longer than 1000 tokens: line 7 \(\d+\)"):
        build_rows(examples, CHATML, encode, max_tokens=1000)
