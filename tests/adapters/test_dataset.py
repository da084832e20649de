import pytest

from adapters.examples import Example
from adapters.training.dataset import TrainingRow, as_blocks, build_rows, mark_decisions
from config.chat_template import CHATML
from config.errors import BadRequestError
from config.fact_layout import PLAIN
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


def test_a_beginning_does_not_teach_where_to_stop() -> None:
    row = build_rows([Example(CONVERSATION, "Two", is_whole=False)], CHATML, encode, max_tokens=1000)[0]
    assert text_of(row.answer) == "Two"


def rows_of(*answers: str) -> tuple[TrainingRow, ...]:
    return build_rows([Example(CONVERSATION, answer) for answer in answers], CHATML, encode, max_tokens=1000)


def test_an_answer_is_decided_where_it_parts_from_the_refusal() -> None:
    answered, other, *_ = rows_of("Yes: two.", "Yes, so.", "Yes not.", "Yes not.", "Yes not.")
    assert (answered.decisions, other.decisions) == ((3,), (3,))


def test_a_refusal_is_decided_wherever_answers_part_from_it() -> None:
    *_, refusal = rows_of("Yes: two.", "Yes nine", "Yes not.", "Yes not.", "Yes not.")
    assert refusal.decisions == (3, 5)


def test_a_beginning_of_the_refusal_is_one() -> None:
    examples = [Example(CONVERSATION, text) for text in ("ab", "ax", "ac then more", "ac then more")]
    begun = [Example(CONVERSATION, "ac", is_whole=False)] * 3
    rows = build_rows([*examples, *begun], CHATML, encode, max_tokens=1000)
    assert [row.decisions for row in rows] == [(1,)] * 7


def test_each_brand_has_its_own_refusal() -> None:
    other = Conversation(CONVERSATION.turns, CONVERSATION.sources, "Be long.")
    examples = [Example(CONVERSATION, text) for text in ("ab", "ac", "ac")] + [
        Example(other, text) for text in ("xyz", "xyw", "xyw")
    ]
    rows = build_rows(examples, CHATML, encode, max_tokens=1000)
    assert [row.decisions for row in rows] == [(1,), (1,), (1,), (2,), (2,), (2,)]


def test_without_a_repeated_answer_nothing_is_marked() -> None:
    rows = rows_of("one", "two")
    assert mark_decisions(rows) == rows
    assert [row.decisions for row in rows] == [(), ()]


THREE = (
    Source(1, "Warranty", "", "Two years."),
    Source(2, "Delivery", "Times", "Five days."),
    Source(3, "Prices", "", "Nine pounds."),
)


def test_sources_in_blocks_bear_lasting_numbers_in_prompt_and_answer() -> None:
    asked = Example(Conversation((Turn("user", "How long?"),), THREE), "Five days [2], and not two [1] [2].")
    numbered = as_blocks(asked)
    numbers = {source.title: source.number for source in numbered.conversation.sources}
    assert len(set(numbers.values())) == 3
    assert set(numbers.values()) != {1, 2, 3}, "choose other titles: these would not show a change"
    delivery, warranty = numbers["Delivery"], numbers["Warranty"]
    assert numbered.answer == f"Five days [{delivery}], and not two [{warranty}] [{delivery}]."
    (row,) = build_rows([asked], CHATML, encode, max_tokens=1000, fact_layout="blocks")
    assert text_of(row.answer) == numbered.answer + END
    starts = [text_of(row.prefix[block])[:3] for block in row.layout.blocks]
    assert starts == [f"[{number}]" for number in numbers.values()]
    prompt = render(numbered.conversation, CHATML, encode)
    assert (row.prefix, row.layout.bounds) == (prompt.tokens[: prompt.voice_boundary], prompt.fact_bounds)


def test_the_same_sources_bear_the_same_numbers_in_any_order() -> None:
    asked = [Example(Conversation((Turn("user", "?"),), order), "Yes.") for order in (THREE, THREE[::-1])]
    one, other = ({s.title: s.number for s in as_blocks(e).conversation.sources} for e in asked)
    assert one == other


def test_rows_without_sources_and_plain_ones_have_no_blocks() -> None:
    bare = Example(Conversation((Turn("user", "How long?"),)), "Two.")
    asked = Example(Conversation((Turn("user", "How long?"),), THREE), "Two [1].")
    (row,) = build_rows([bare], CHATML, encode, max_tokens=1000, fact_layout="blocks")
    (plain,) = build_rows([asked], CHATML, encode, max_tokens=1000, lora="plain", fact_layout="blocks")
    assert (row.layout, plain.layout) == (PLAIN, PLAIN)
    assert text_of(plain.answer) == "Two [1]." + END
