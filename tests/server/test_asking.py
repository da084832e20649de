"""Many questions at a time: in order, patient with a busy server, and over at once when one fails."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.evaluation.run import Ask
from config.errors import HousevoiceError, OverloadedError
from config.prompt import Turn
from server.cli.asking import ServerAsks
from server.cli.connection import Server
from tests.server.api.world import settings_in

ASKS = [Ask("halden", (Turn("user", str(number)),)) for number in range(20)]


class Posted(Server):
    """A server whose answers a function makes of the question."""

    def __init__(self, says: Callable[[str], str]) -> None:
        super().__init__("http://127.0.0.1:9", "hv-none")
        object.__setattr__(self, "says", says)

    def get(self, path: str, **params: str | int | list[str]) -> Any:
        return {"documents": []}

    def post(self, path: str, body: dict[str, Any]) -> Any:
        text = getattr(self, "says")(body["messages"][-1]["content"])  # noqa: B009
        message = {"content": text, "refusal": None, "annotations": []}
        return {"choices": [{"message": message}], "housevoice": {"retrieved": [], "is_refusal": False}}


def asking(folder: Path, says: Callable[[str], str]) -> ServerAsks:
    return ServerAsks(Posted(says), settings_in(folder), streams=3)


def test_answers_come_in_the_order_of_the_questions(tmp_path: Path) -> None:
    found = asking(tmp_path, lambda text: f"to {text}").answers(ASKS, "all")
    assert [answer.text for answer in found] == [f"to {number}" for number in range(20)]


def test_a_busy_server_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("server.cli.asking.time.sleep", waited.append)

    def says(text: str) -> str:
        if text == "7" and len(waited) < 2:
            raise OverloadedError("Too many.", 3)
        return text

    assert len(asking(tmp_path, says).answers(ASKS, "all")) == 20
    assert waited == [3, 3]


def test_what_fails_ends_the_rest(tmp_path: Path) -> None:
    asked: list[str] = []

    def says(text: str) -> str:
        asked.append(text)
        if text == "0":
            raise HousevoiceError("The engine is gone.")
        time.sleep(0.05)  # all of them would take a quarter of a minute
        return text

    with pytest.raises(HousevoiceError, match="gone"):
        asking(tmp_path, says).answers(ASKS * 50, "all")
    assert len(asked) < 1000
