import pytest

from config.chat_template import CHATML, PLAIN_TEXT, turn_format_from_template
from config.errors import ModelError

CHATML_TEMPLATE = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\nDefault<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start|>' + m['role'] + '<|end|>\n\n' + m['content'] + '<|eot|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant<|end|>\n\n' }}{% endif %}"
)
MISTRAL_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)


def test_chatml_is_read_back() -> None:
    assert turn_format_from_template(CHATML_TEMPLATE, "", "<|im_end|>") == CHATML


def test_begin_of_text_in_the_template_is_not_doubled() -> None:
    found = turn_format_from_template(LLAMA3_TEMPLATE, "<s>", "</s>", add_bos=True)
    assert found.begin + found.system_open == "<s><|start|>system<|end|>\n\n"
    assert found.user_open == "<|start|>user<|end|>\n\n"
    assert found.assistant_close == "<|eot|>"


def test_begin_of_text_is_added_where_the_vocabulary_wants_it() -> None:
    assert turn_format_from_template(CHATML_TEMPLATE, "<s>", "</s>", add_bos=True).begin == "<s>"


def test_a_template_without_a_system_role_puts_it_into_the_first_user_turn() -> None:
    found = turn_format_from_template(MISTRAL_TEMPLATE, "<s>", "</s>", add_bos=True)
    assert found.system_in_first_user
    assert (found.system_open, found.user_open, found.user_close) == ("<s>[INST] ", "[INST] ", " [/INST]")
    assert found.assistant_close == "</s>"


def test_no_template_gives_plain_questions_and_answers() -> None:
    assert turn_format_from_template("", "", "") == PLAIN_TEXT


@pytest.mark.parametrize(
    "hostile",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "nothing of what was said",
        "{% if %}",
        "x" * 200_000,
    ],
)
def test_a_hostile_or_useless_template_is_refused(hostile: str) -> None:
    with pytest.raises(ModelError):
        turn_format_from_template(hostile, "", "")
