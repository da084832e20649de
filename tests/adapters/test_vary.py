import re

from hypothesis import given
from hypothesis import strategies as st

from adapters.examples import CITATION, Example
from adapters.vary import shuffle_sources, vary_examples, vary_numbers
from config.prompt import Conversation, Source, Turn

GOLD = Source(
    2,
    "Pod 12 manual",
    "Weight",
    "The Pod 12 weighs 31.5 kg and holds 12 meals until 05:30. Part PP-12-LID, room T-112.",
)
OTHER = Source(1, "Leave 2026", "", "You get 31.5 days.")


def example(answer: str, question: str = "how heavy is the pod 12?") -> Example:
    return Example(conversation=Conversation((Turn("user", question),), (OTHER, GOLD)), answer=answer)


def test_number_changes_alike_in_answer_and_cited_source_only() -> None:
    varied = vary_numbers(example("It weighs 31.5 kg until 05:30 [2]."), seed=1)
    weight, until = re.findall(r"[\d.:]*\d", varied.answer)[:2]
    assert weight != "31.5"
    assert re.fullmatch(r"\d\d\.\d", weight)
    text = varied.conversation.sources[1].text
    assert f"weighs {weight} kg" in text
    assert f"until {until}" in text
    assert varied.conversation.sources[0] == OTHER


def test_names_codes_citations_and_question_numbers_stay() -> None:
    varied = vary_numbers(example("The Pod 12 holds 12 meals [2], part PP-12-LID in T-112."), seed=3)
    assert varied.answer == "The Pod 12 holds 12 meals [2], part PP-12-LID in T-112."
    assert "Part PP-12-LID, room T-112" in varied.conversation.sources[1].text


def test_two_brands_answers_to_one_question_share_their_sources() -> None:
    formal, warm = vary_numbers(example("It weighs 31.5 kg [2]."), 4), vary_numbers(example("Until 05:30! [2]"), 4)
    assert formal.conversation.sources == warm.conversation.sources


def test_an_example_without_citations_is_returned_itself() -> None:
    refusal = example("I do not know.")
    assert vary_numbers(refusal, seed=1) is refusal


@given(st.integers(0, 10_000))
def test_every_number_of_a_varied_answer_stands_in_its_source(seed: int) -> None:
    varied = vary_numbers(example("31.5 kg until 05:30 [2]"), seed)
    for number in re.findall(r"\d+(?:[.:]\d+)+", varied.answer):
        assert number in varied.conversation.sources[1].text


def test_seeds_differ_and_repeat() -> None:
    row = example("It weighs 31.5 kg [2].")
    assert vary_numbers(row, 5) == vary_numbers(row, 5)
    assert len({vary_numbers(row, seed).answer for seed in range(8)}) > 1


def cited_texts(example: Example) -> list[str]:
    texts = {source.number: source.text for source in example.conversation.sources}
    return [texts[int(number)] for number in CITATION.findall(example.answer)]


@given(num_sources=st.integers(1, 5), seed=st.integers(0, 50), data=st.data())
def test_a_shuffled_answer_still_cites_the_same_texts(num_sources: int, seed: int, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(1, num_sources), min_size=1))
    sources = tuple(Source(number, "T", "", f"text {number}") for number in range(1, num_sources + 1))
    row = Example(Conversation((Turn("user", "?"),), sources), " ".join(f"Fact [{number}]." for number in numbers))
    shuffled = shuffle_sources(row, seed)
    assert cited_texts(shuffled) == cited_texts(row)
    assert [source.number for source in shuffled.conversation.sources] == [*range(1, num_sources + 1)]


def test_shares_decide_how_many_rows_change_and_seeds_repeat() -> None:
    rows = [example("It weighs 31.5 kg [2].") for _ in range(40)]
    assert vary_examples(rows, shuffle_share=0, number_share=0, seed=1) == tuple(rows)
    numbers = vary_examples(rows, shuffle_share=0, number_share=0.5, seed=1)
    assert 8 < sum(varied != row for varied, row in zip(numbers, rows, strict=True)) < 32
    shuffled = vary_examples(rows, shuffle_share=1, number_share=0, seed=1)
    assert {CITATION.findall(row.answer)[0] for row in shuffled} == {"1", "2"}
    assert vary_examples(rows, shuffle_share=1, number_share=1, seed=2) == vary_examples(
        rows, shuffle_share=1, number_share=1, seed=2
    )
