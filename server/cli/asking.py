"""Ask a running server many questions through its public API, several at a time, with a bar."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from adapters.evaluation.ability import MAX_TOKENS
from adapters.evaluation.questions import Answer, Marker, Source
from adapters.evaluation.run import Ask
from config.chat_template import turn_format_from_template
from config.errors import OverloadedError
from config.models import resolve_base
from config.prompt import Conversation, Turn, render
from config.settings import Settings
from server.cli.connection import Server
from server.cli.console import err, plain

MAX_TRIES = 30
Item = TypeVar("Item")
Result = TypeVar("Result")


class ServerAsks:
    """`adapters.evaluation.run.Asks` over HTTP. streams: how many questions are under way at a time."""

    def __init__(self, server: Server, settings: Settings, streams: int = 4) -> None:
        self._server = server
        self._settings = settings
        self._streams = streams
        documents = server.get("/api/documents")["documents"]
        self._paths = {row["document_id"]: row["path"] for row in documents}

    def answers(self, asks: Sequence[Ask], what: str) -> list[Answer]:
        return self._all(
            lambda ask: answer_of(self._post("/v1/chat/completions", chat_body(ask)), self._paths), asks, what
        )

    def plain(self, model: str, questions: Sequence[str], what: str) -> list[str]:
        """As token ids in the base's chat template, so nothing but the question stands in the prompt."""
        prompts = self._prompts(questions)

        def ask(tokens: list[int]) -> str:
            body = {"model": model, "prompt": tokens, "max_tokens": MAX_TOKENS, "temperature": 0}
            return str(self._post("/v1/completions", body)["choices"][0]["text"]).strip()

        return self._all(ask, prompts, what)

    def _prompts(self, questions: Sequence[str]) -> list[list[int]]:
        from server.engine.vocabulary import Vocabulary

        vocabulary = Vocabulary.open(resolve_base(self._settings).path)
        turn_format = turn_format_from_template(vocabulary.chat_template, vocabulary.bos_text, vocabulary.eos_text)
        asked = [Conversation((Turn("user", question),)) for question in questions]
        return [list(render(item, turn_format, vocabulary.encode).tokens) for item in asked]

    def _all(self, ask: Callable[[Item], Result], items: Sequence[Item], what: str) -> list[Result]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with (
            Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar,
            ThreadPoolExecutor(self._streams) as pool,
        ):
            try:
                return list(bar.track(pool.map(ask, items), total=len(items), description=plain(what)))
            except BaseException:  # a failed question or Ctrl-C ends the others that wait
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _post(self, path: str, body: dict[str, object]) -> Any:
        """Waits its turn where the server is busy."""
        for _ in range(MAX_TRIES):
            try:
                return self._server.post(path, body)
            except OverloadedError as error:
                time.sleep(error.retry_after_seconds)
        return self._server.post(path, body)


def chat_body(ask: Ask) -> dict[str, object]:
    turns = [{"role": turn.role, "content": turn.content} for turn in ask.turns]
    system = [{"role": "system", "content": ask.instructions}] if ask.instructions else []
    retrieval = {"enabled": ask.uses_documents, "include_text": True}
    return {"model": ask.model, "messages": [*system, *turns], "temperature": 0, "retrieval": retrieval}


def answer_of(response: Mapping[str, Any], paths: Mapping[str, str]) -> Answer:
    """A chat completion as the evaluation sees it. paths: of documents, by their ids."""
    message, extras = response["choices"][0]["message"], response["housevoice"]
    given = extras["retrieved"]
    places = {source["url"]: place for place, source in enumerate(given)}
    citations = [annotation["url_citation"] for annotation in message.get("annotations") or []]
    return Answer(
        text=message["content"] or message["refusal"] or "",
        markers=tuple(
            Marker(cited["start_index"], cited["end_index"], places[cited["url"]])
            for cited in citations
            if cited["url"] in places
        ),
        sources=tuple(
            Source(paths.get(source["document_id"], ""), source["title"], source["heading"], source["text"])
            for source in given
        ),
        is_refusal=bool(extras["is_refusal"]),
    )
