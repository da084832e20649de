"""An adapter judged without a server reads its rows' sources as it would be served."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.examples import Example
from config.brands import Brand
from config.chat_template import CHATML
from config.fact_layout import FactLayout
from config.prompt import Conversation, Source, Turn
from config.settings import load_settings
from server.engine.fake import FakeEngine, fake_vocabulary
from server.engine.messages import AdapterRef, FactStatus, GenerateRequest
from server.offline_scores import HeldOut, OpenedBase
from tests.adapters.tiny import write_lora

BRAND = Brand(name="halden", system_prompt="Reply as Halden.", refusal="The documents do not state this.")
SOURCES = (Source(1, "Leave", "", "Staff get 26 days."), Source(2, "Hotels", "", "London costs 187 pounds."))
ROW = HeldOut(Example(Conversation((Turn("user", "What does London cost?"),), SOURCES), "187 pounds [2].", 1), "187")


def quoting(request: GenerateRequest) -> str:
    """Cites the hotels' source under the number that it bears in the prompt."""
    text = bytes(token for token in request.tokens if token < 256).decode()
    found = re.search(r"\[(\d)\] Hotels", text)
    assert found
    return f"It costs 187 pounds [{found[1]}]."


@pytest.mark.parametrize(
    ("served", "trained", "num_bounds"),
    [("blocks", "blocks", 3), ("blocks", "exact", 0), ("exact", "blocks", 0)],
)
async def test_the_slower_layout_is_asked_and_citations_are_judged(
    tmp_path: Path, served: str, trained: FactLayout, num_bounds: int
) -> None:
    engine = FakeEngine(quoting)
    await engine.start()
    engine.current = replace(engine.current, facts=FactStatus(layout=served))
    opened = OpenedBase(engine, fake_vocabulary(), CHATML, load_settings(environment={}).engine)
    adapter = AdapterRef("halden", write_lora(tmp_path / "voice.gguf"), "0" * 64)
    shares = await opened.shares(BRAND, adapter, [ROW], trained)
    (request,) = engine.requests
    assert len(request.fact_bounds) == num_bounds
    assert shares["citation"].startswith("100 %"), shares
    is_lasting = "[2] Hotels" not in bytes(token for token in request.tokens if token < 256).decode()
    assert is_lasting == bool(num_bounds)
