"""From a model file's chat template to the fixed strings around each turn.

The template is somebody else's program. It is rendered once per model, in Jinja's immutable sandbox with sentinels in
place of content, and the strings between the sentinels are kept; no request ever runs it again.
"""

from collections.abc import Callable

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from config.errors import ModelError
from config.prompt import TurnFormat

Render = Callable[[list[tuple[str, str]], bool], str]
"""(turns of role and content, add_generation_prompt) -> text"""

MAX_TEMPLATE_CHARACTERS = 100_000
SYSTEM, USER, ASSISTANT = "@@system@@", "@@user@@", "@@assistant@@"
CHATML = TurnFormat(
    begin="",
    system_open="<|im_start|>system\n",
    system_close="<|im_end|>\n",
    user_open="<|im_start|>user\n",
    user_close="<|im_end|>\n",
    assistant_open="<|im_start|>assistant\n",
    assistant_close="<|im_end|>\n",
)
PLAIN_TEXT = TurnFormat(
    begin="",
    system_open="",
    system_close="\n\n",
    user_open="Question: ",
    user_close="\n",
    assistant_open="Answer:",
    assistant_close="\n",
)
"""For models without a chat template."""


def turn_format_from_template(template: str, bos_token: str, eos_token: str, *, add_bos: bool = False) -> TurnFormat:
    """Read the turn strings out of a Jinja chat template.

    A template without a system role gets the system text at the head of the first user turn, as its makers advise.
    Raises ModelError where the template does not render or does not show its content.
    """
    if not template:
        return PLAIN_TEXT
    if len(template) > MAX_TEMPLATE_CHARACTERS:
        raise ModelError(f"The model's chat template has {len(template)} characters.", "Use a model from its makers.")
    render = _compile(template, bos_token, eos_token)
    user_close = _after(render([("user", USER)], False), USER)
    assistant_open = _after(render([("user", USER)], True), USER).removeprefix(user_close)
    assistant_close = _after(render([("user", USER), ("assistant", ASSISTANT)], False), ASSISTANT)
    dialogue = render([("user", USER), ("assistant", ASSISTANT), ("user", USER)], True)
    user_open = _between(dialogue, ASSISTANT, USER).removeprefix(assistant_close)
    head = _system_head(render, user_open)
    system_in_first_user = head is None
    open_text, close_text = head or (dialogue[: dialogue.index(USER)], "\n\n")
    begin = bos_token if add_bos and not open_text.startswith(bos_token) else ""
    return TurnFormat(
        begin, open_text, close_text, user_open, user_close, assistant_open, assistant_close, system_in_first_user
    )


def _system_head(render: Render, user_open: str) -> tuple[str, str] | None:
    """What stands before and after the system text, or None where the template has no place for one."""
    try:
        text = render([("system", SYSTEM), ("user", USER)], True)
    except ModelError:
        return None
    between = _between(text, SYSTEM, USER) if text.count(SYSTEM) == 1 else ""
    if not between.endswith(user_open):
        return None
    return text[: text.index(SYSTEM)], between.removesuffix(user_open)


def _compile(template: str, bos_token: str, eos_token: str) -> Render:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _raise

    def render(turns: list[tuple[str, str]], add_generation_prompt: bool) -> str:
        messages = [{"role": role, "content": content} for role, content in turns]
        try:
            return environment.from_string(template).render(
                messages=messages,
                add_generation_prompt=add_generation_prompt,
                bos_token=bos_token,
                eos_token=eos_token,
            )
        except (jinja2.TemplateError, ValueError, TypeError, KeyError, OverflowError) as error:
            raise ModelError(f"The model's chat template cannot be used: {error}.") from error

    return render


def _raise(message: str) -> None:
    raise ValueError(message)


def _after(text: str, sentinel: str) -> str:
    return text[_find(text, sentinel) + len(sentinel) :]


def _between(text: str, left: str, right: str) -> str:
    rest = _after(text, left)
    return rest[: _find(rest, right)]


def _find(text: str, sentinel: str) -> int:
    found = text.find(sentinel)
    if found < 0:
        raise ModelError("The model's chat template hides a message's content.", "Use a model from its makers.")
    return found
