import json
import re
from pathlib import Path

import pytest

from adapters.examples import Example
from adapters.reading import EVIDENCE, Group, Shares, Voice, read_groups, reading_examples
from config.errors import BadRequestError
from config.prompt import format_source
from config.settings import SAMPLE

PLAIN = Voice("Answer plainly.", f"Answer: {EVIDENCE}\n", "Answer: The sources do not say.\n")
BRISK = Voice("Answer briskly.", f"Hi! {EVIDENCE}\n", "Hi! I cannot find that.\n")


def group(name: str) -> dict[str, object]:
    return {
        "passages": [
            {
                "title": f"{name}{kind} manual",
                "heading": "Use",
                "sentences": [f"The {name}{kind} drains in {place} minutes." for place in range(3)],
                "questions": [[f"How long does {name}{kind} take, {place}?", place] for place in range(3)],
            }
            for kind in "ABC"
        ],
        "unanswerable": [f"Who made {name}, {number}?" for number in range(4)],
    }


GROUPS = [Group.model_validate(group(name)) for name in ("Tarrow", "Morvane", "Quill")]
SHARES = Shares(answerable=5, unanswerable=3, withheld=2, remaining=1)


def built() -> list[Example]:
    return reading_examples(GROUPS, (PLAIN, BRISK), SHARES, seed=3)


def is_refusal(example: Example) -> bool:
    return example.answer in (PLAIN.refusal, BRISK.refusal)


def asked(example: Example) -> str:
    return example.conversation.turns[-1].content


def test_each_group_gives_its_share_of_answers_and_refusals() -> None:
    examples = built()
    assert len(examples) == len(GROUPS) * (5 + 3 + 2 + 1)
    assert sum(map(is_refusal, examples)) == len(GROUPS) * (3 + 2)


def test_an_answer_quotes_a_sentence_as_the_prompt_shows_it() -> None:
    for example in built():
        if not is_refusal(example):
            quoted = re.sub(r"^(Answer: |Hi! )", "", example.answer).strip()
            assert quoted in "".join(format_source(source) for source in example.conversation.sources)
            assert re.search(r"(Tarrow|Morvane|Quill)[ABC]", asked(example))[0] in quoted  # type: ignore[index]


def test_a_refused_question_on_a_passage_never_sees_that_passage() -> None:
    withheld = [example for example in built() if is_refusal(example) and asked(example).startswith("How long")]
    assert len(withheld) == len(GROUPS) * SHARES.withheld
    for example in withheld:
        name = re.search(r"does (\w+) take", asked(example))[1]  # type: ignore[index]
        assert len(example.conversation.sources) == 3
        assert not any(name in source.text for source in example.conversation.sources)


def test_voices_take_turns_and_answers_are_beginnings() -> None:
    examples = built()
    assert {example.conversation.instructions for example in examples[::2]} == {PLAIN.instructions}
    assert {example.conversation.instructions for example in examples[1::2]} == {BRISK.instructions}
    assert not any(example.is_whole for example in examples)


def test_the_same_seed_gives_the_same_rows() -> None:
    assert built() == built()


def test_rows_of_a_table_stand_on_lines_of_their_own() -> None:
    table = group("Tarrow")
    table["passages"][0]["sentences"] = ["Model: A; Price: 3", "Model: B; Price: 4", "Model: C; Price: 9"]  # type: ignore[index]
    assert Group.model_validate(table).passages[0].text.splitlines()[1] == "Model: B; Price: 4"


def test_a_question_on_a_sentence_that_is_not_there_is_named(tmp_path: Path) -> None:
    bad = group("Tarrow")
    bad["passages"][1]["questions"] = [["How much?", 3]]  # type: ignore[index]
    file = tmp_path / "passages.jsonl"
    file.write_text(json.dumps(group("Quill")) + "\n" + json.dumps(bad) + "\n", encoding="utf-8")
    with pytest.raises(BadRequestError, match=r"line 2: .*'How much\?' names sentence 3 of 3"):
        read_groups(file)


def test_the_sample_company_is_not_in_its_reading_practice() -> None:
    text = (SAMPLE / "examples" / "passages.jsonl").read_text(encoding="utf-8")
    assert len(read_groups(SAMPLE / "examples" / "passages.jsonl")) > 150
    assert not re.search("Larkfield|Halden|Pipkin|LogSure", text)
