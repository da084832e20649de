"""What to search for in a conversation: a follow-up such as "and for the H5?" means nothing to a search by itself.

The base rewrites it into a question that stands alone (conversational query rewriting, as in Elgohary, Peskov and
Boyd-Graber, EMNLP 2019), without any adapter, in a short generation that is skipped where the question stands alone
already. Whether it does is decided by rules, not by the model. Whatever goes wrong, the last two questions are joined.

The text that comes back is untrusted: it is searched for, and never shown or put into a prompt.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from config.prompt import Conversation, Encode, Turn, TurnFormat, render
from config.settings import RetrievalSettings
from ingest.lexical import COMMON_WORDS
from server.engine.messages import Engine, FailedEvent, FinishedEvent, FinishReason, GenerateRequest, TextEvent
from server.scopes import question_scopes

MAX_EARLIER_TURNS = 4
MAX_TURN_CHARACTERS = 400
MAX_PROMPT_TOKENS = 900
MAX_ANSWER_TOKENS = 48
MAX_QUESTION_CHARACTERS = 300

MIN_TELLING_WORDS = 4
"""A question with fewer words that say something, common ones set aside, leans on what was said before."""

POINTING_WORDS = frozenset(
    re.findall(
        r"\w+",
        "it its they them their theirs he him his she her hers that this these those there then one ones same such"
        " other another both either instead else also too still again afterwards otherwise"
        " er ihn ihm sie ihnen es das dies diese dieser dieses dort dann damit dafür davon daran dazu auch noch",
    )
)
OPENING_WORDS = frozenset(re.findall(r"\w+", "and but or so ok okay right well yes no und aber oder also ja nein"))

TASK = "Rewrite the last question so that it can be understood without the conversation."
SHOTS: tuple[tuple[tuple[Turn, ...], str], ...] = (
    (
        (
            Turn("user", "What does the Lumo C2 desk lamp cost?"),
            Turn("assistant", "The Lumo C2 costs 48 euros."),
            Turn("user", "and the C4?"),
        ),
        "What does the Lumo C4 desk lamp cost?",
    ),
    (
        (
            Turn("user", "May visitors park in the yard?"),
            Turn("assistant", "Yes, visitors may park in the yard until 18:00."),
            Turn("user", "who has to sign for it?"),
        ),
        "Who has to sign for visitors who park in the yard?",
    ),
    (
        (
            Turn("user", "My badge is lost. What do I do?"),
            Turn("assistant", "Report it at the front desk; a new badge is made the same day."),
            Turn("user", "How much is that?"),
        ),
        "How much is a new badge when the old one is lost?",
    ),
)


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """text: what is searched for. method: "question" (the last one alone), "joined", "condensed", or "joined" with the
    reason why condensing came to nothing."""

    text: str
    method: str
    seconds: float = 0.0


class Condenser:
    """Turns a conversation into a query. `encode` as in `config.prompt.render`."""

    def __init__(self, engine: Engine, encode: Encode, turn_format: TurnFormat, settings: RetrievalSettings) -> None:
        self._engine = engine
        self._encode = encode
        self._turn_format = turn_format
        self._settings = settings

    async def query(self, turns: Sequence[Turn], request_id: str, key_id: str) -> SearchQuery:
        """Never raises: joining is always possible. A cancelled request ends the generation within a step.

        key_id: whose conversation it is, so that what the engine caches of it is nobody else's.
        """
        if self._settings.condense == "off":
            return join(turns)
        if stands_alone(turns):
            return SearchQuery(turns[-1].content, "question")
        return await self.rewrite(turns, request_id, key_id)

    async def rewrite(self, turns: Sequence[Turn], request_id: str, key_id: str) -> SearchQuery:
        """Let the base write it, whatever the rules say."""
        started = time.monotonic()
        prompt = await asyncio.to_thread(render, conversation_of(turns), self._turn_format, self._encode)
        found = _Written("too long")
        if len(prompt.tokens) <= MAX_PROMPT_TOKENS:
            scopes = question_scopes(prompt, key_id)
            name = f"{request_id}-query"
            found = await self._generate(
                GenerateRequest(name, prompt.tokens, MAX_ANSWER_TOKENS, scopes=scopes, stop=("\n",))
            )
        return _checked(found, turns, time.monotonic() - started)

    async def _generate(self, request: GenerateRequest) -> "_Written":
        text, outcome = "", "failed"
        try:
            async with (
                asyncio.timeout(self._settings.condense_seconds),
                aclosing(self._engine.generate(request)) as events,
            ):
                async for event in events:
                    match event:
                        case TextEvent():
                            text += event.text
                        case FinishedEvent():
                            outcome = "runaway" if event.reason is FinishReason.LENGTH else ""
                        case FailedEvent():
                            outcome = event.kind.value
        except TimeoutError:
            outcome = "timed out"
        return _Written(outcome, text)


@dataclass(frozen=True, slots=True)
class _Written:
    """What the base wrote; `failure` is empty where it came to an end."""

    failure: str
    text: str = ""


def join(turns: Sequence[Turn], reason: str = "", seconds: float = 0.0) -> SearchQuery:
    """The last question, with the one before it in front."""
    questions = [turn.content for turn in turns if turn.role == "user"][-2:]
    method = "joined" if len(questions) > 1 else "question"
    return SearchQuery("\n".join(questions), f"{method}: {reason}" if reason else method, seconds)


def stands_alone(turns: Sequence[Turn]) -> bool:
    """The first question does; a later one where it is long enough and neither points back nor goes on."""
    if sum(turn.role == "user" for turn in turns) < 2:
        return True
    words = re.findall(r"\w+", turns[-1].content.lower())
    telling = [word for word in words if word not in COMMON_WORDS]
    if len(telling) < MIN_TELLING_WORDS or words[0] in OPENING_WORDS:
        return False
    return POINTING_WORDS.isdisjoint(words)


def conversation_of(turns: Sequence[Turn]) -> Conversation:
    """The prompt: the task shown three times, then the end of this conversation, each turn cut to its beginning."""
    shown: list[Turn] = []
    for shot, answer in SHOTS:
        shown += [Turn("user", _transcript(shot)), Turn("assistant", answer)]
    kept = [Turn(turn.role, _cut(turn.content)) for turn in turns[-MAX_EARLIER_TURNS - 1 :]]
    return Conversation((*shown, Turn("user", _transcript(kept))), system=TASK)


def _transcript(turns: Sequence[Turn]) -> str:
    lines = [f"{'User' if turn.role == 'user' else 'Assistant'}: {turn.content}" for turn in turns[:-1]]
    return "\n".join([*lines, f"Last question: {turns[-1].content}"])


def _cut(text: str) -> str:
    return " ".join(text[: 4 * MAX_TURN_CHARACTERS].split())[:MAX_TURN_CHARACTERS]


def _checked(written: _Written, turns: Sequence[Turn], seconds: float) -> SearchQuery:
    text = " ".join(written.text.split()).strip("\"' ")
    failure = (
        written.failure or ("" if text else "empty") or ("too long" if len(text) > MAX_QUESTION_CHARACTERS else "")
    )
    return join(turns, failure, seconds) if failure else SearchQuery(text, "condensed", seconds)
