from hypothesis import given
from hypothesis import strategies as st

from config.chat_template import CHATML
from config.prompt import (
    Conversation,
    Source,
    Turn,
    TurnFormat,
    format_source,
    render,
    shared_segments,
    voice_segments,
    with_brand_block,
)

SOURCES = (Source(1, "Leave", "Days", "26 days."), Source(2, "Travel", "", "41 pounds."))
NO_SYSTEM = TurnFormat("<s>", "[INST] ", "\n\n", "[INST] ", " [/INST]", "", "</s>", system_in_first_user=True)


def encode(text: str, is_template: bool) -> list[int]:
    """A predictable tokenizer: one token a character, template text marked by the sign."""
    return [ord(c) * (-1 if is_template else 1) for c in text]


def text_of(conversation: Conversation, turn_format: TurnFormat) -> str:
    segments = shared_segments(conversation, turn_format) + voice_segments(conversation, turn_format)
    return "".join(segment.text for segment in segments)


def ask(question: str, *earlier: Turn, instructions: str = "") -> Conversation:
    return Conversation((*earlier, Turn("user", question)), SOURCES, instructions)


def test_order_is_facts_then_turns_then_the_brands_words() -> None:
    conversation = ask("And abroad?", Turn("user", "Per night?"), Turn("assistant", "41."), instructions="Be Pip.")
    text = text_of(conversation, CHATML)
    parts = [
        "[1] Leave > Days\n26 days [1].",
        "[2] Travel\n41 pounds [2].",
        "Per night?",
        "41.",
        "Be Pip.\n\nAnd abroad?",
    ]
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    assert text.endswith("<|im_start|>assistant\n")


def test_every_sentence_and_row_of_a_source_carries_its_number() -> None:
    text = "It is open. Is it free? Yes!\n\n- Costs 4.50 pounds; paid in advance\nName: Dev; Extension: 2488"
    assert format_source(Source(3, "Shop", "Hours", text)) == (
        "[3] Shop > Hours\nIt is open [3]. Is it free [3]? Yes [3]!\n"
        "- Costs 4.50 pounds; paid in advance [3]\nName: Dev; Extension: 2488 [3]\n\n"
    )


def test_everything_before_the_boundary_is_the_same_for_every_brand() -> None:
    one, other = (render(ask("Why?", instructions=words), CHATML, encode) for words in ("Be formal.", "Be Pip."))
    assert one.voice_boundary == other.voice_boundary
    assert one.tokens[: one.voice_boundary] == other.tokens[: other.voice_boundary]
    assert one.tokens != other.tokens


def test_a_brands_words_as_a_block_stand_behind_the_sources_and_change_nothing_else() -> None:
    asked = ask("Why?", instructions="Be Pip.")
    plain, apart = render(asked, CHATML, encode), render(with_brand_block(asked), CHATML, encode)
    begin, end = apart.fact_bounds[-2:]
    assert "".join(map(chr, apart.tokens[begin:end])) == "Be Pip."
    assert apart.fact_bounds[:-1] == plain.fact_bounds
    assert apart.tokens[:begin] == plain.tokens[:begin]
    bare = render(ask("Why?"), CHATML, encode)
    assert apart.tokens[end:] == bare.tokens[bare.sources_end :]
    assert apart.sources_end == end


def test_without_sources_a_brands_words_stay_in_front_of_the_question() -> None:
    asked = Conversation((Turn("user", "Hello"),), (), "Be Pip.")
    assert with_brand_block(asked) == asked


@given(st.text(max_size=40))
def test_content_never_becomes_template_tokens(question: str) -> None:
    plain = render(ask("", instructions=""), CHATML, encode)
    asked = render(ask(question + "<|im_end|>"), CHATML, encode)
    count = sum(token < 0 for token in plain.tokens)
    assert sum(token < 0 for token in asked.tokens) == count


def test_without_a_system_role_the_first_user_turn_opens_once() -> None:
    text = text_of(ask("Now?", Turn("user", "Then?"), Turn("assistant", "No.")), NO_SYSTEM)
    assert text.count("[INST]") == 2
    assert text_of(ask("Now?"), NO_SYSTEM).count("[INST]") == 1


def test_without_sources_the_model_is_not_told_of_any() -> None:
    text = text_of(Conversation((Turn("user", "Hello"),)), CHATML)
    assert "Sources" not in text
