"""A brand leans towards its refusal only where its adapter has learned one, and no format is asked for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.registry import AdapterVersion
from config.brands import Brand
from config.chat_template import CHATML
from config.prompt import Turn
from config.settings import load_settings
from server.answer import Answerer, AnswerRequest
from server.condense import Condenser
from server.engine.fake import FakeEngine, fake_vocabulary
from server.engine.messages import GenerateRequest
from server.records import RequestRecord
from server.voices import Voice
from tests.adapters.tiny import write_lora
from tests.server.api.world import FixedRetriever

BRAND = Brand(name="halden", knowledge_bases=("company",), refusal="Not stated.\n", refusal_bias=2.5)


@pytest.fixture
def asked(tmp_path: Path) -> AnswerRequest:
    """Of a voice with an adapter."""
    adapter = AdapterVersion("halden", 1, write_lora(tmp_path / "adapter.gguf"), "ab" * 32, "", 1, 0, True)
    return AnswerRequest("r", "k", Voice("halden", BRAND, False, adapter, 0), (Turn("user", "How long?"),))


async def sent(request: AnswerRequest) -> GenerateRequest:
    engine, vocabulary = FakeEngine("It is [1]."), fake_vocabulary()
    records: list[RequestRecord] = []
    retriever = FixedRetriever()
    settings = load_settings(environment={})
    condenser = Condenser(engine, vocabulary.encode, CHATML, settings.retrieval)
    answerer = Answerer(engine, lambda: retriever, vocabulary, CHATML, settings.engine, records.append, condenser)
    await engine.start()
    assert [event async for event in answerer.answer(request)]
    await engine.stop()
    return engine.requests[-1]


async def test_the_refusal_is_leaned_to_word_for_word(asked: AnswerRequest) -> None:
    sampling = (await sent(asked)).sampling
    assert sampling.leaning == tuple(fake_vocabulary().encode("Not stated.", False))
    assert sampling.leaning_bias == 2.5


async def test_a_refusal_is_settled_with_its_first_line(asked: AnswerRequest) -> None:
    long = BRAND.model_copy(update={"refusal": "Not stated.\nAsk the owner.\n", "refusal_bias": 0.0})
    sampling = (await sent(replace(asked, voice=replace(asked.voice, brand=long)))).sampling
    encode = fake_vocabulary().encode
    assert sampling.leaning == tuple(encode("Not stated.\nAsk the owner.", False))
    assert sampling.leaning_settled == len(encode("Not stated.", False))
    assert sampling.leaning_bias == 0


async def test_nothing_is_leaned_to_without_an_adapter(asked: AnswerRequest) -> None:
    untuned = replace(asked, voice=replace(asked.voice, adapter=None))
    assert (await sent(untuned)).sampling.leaning == ()


@pytest.mark.parametrize("changes", [{"use_documents": False}, {"json_schema": "{}"}], ids=["a side task", "a schema"])
async def test_nothing_is_leaned_to_where_no_refusal_is_wanted(asked: AnswerRequest, changes: dict[str, Any]) -> None:
    assert (await sent(replace(asked, **changes))).sampling.leaning == ()
