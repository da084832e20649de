"""A brand leans towards its refusal only where its adapter has learned one, and no format is asked for."""

from dataclasses import replace
from pathlib import Path

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
from tests.server.api.world import FixedRetriever

BRAND = Brand(name="halden", knowledge_bases=("company",), refusal="Not stated.\n", refusal_bias=2.5)
ADAPTER = AdapterVersion("halden", 1, Path("adapter.gguf"), "ab" * 32, "", 1, 0, True)
ASKED = AnswerRequest("r", "k", Voice("halden", BRAND, False, ADAPTER, 0), (Turn("user", "How long?"),))


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


async def test_the_refusal_is_leaned_to_word_for_word() -> None:
    sampling = (await sent(ASKED)).sampling
    assert sampling.leaning == tuple(fake_vocabulary().encode("Not stated.", False))
    assert sampling.leaning_bias == 2.5


async def test_a_refusal_is_settled_with_its_first_line() -> None:
    long = BRAND.model_copy(update={"refusal": "Not stated.\nAsk the owner.\n", "refusal_bias": 0.0})
    sampling = (await sent(replace(ASKED, voice=replace(ASKED.voice, brand=long)))).sampling
    encode = fake_vocabulary().encode
    assert sampling.leaning == tuple(encode("Not stated.\nAsk the owner.", False))
    assert sampling.leaning_settled == len(encode("Not stated.", False))
    assert sampling.leaning_bias == 0


@pytest.mark.parametrize(
    "request_",
    [
        replace(ASKED, voice=replace(ASKED.voice, adapter=None)),
        replace(ASKED, use_documents=False),
        replace(ASKED, json_schema="{}"),
    ],
    ids=["no adapter", "a side task", "a schema"],
)
async def test_nothing_is_leaned_to_without_a_learned_refusal(request_: AnswerRequest) -> None:
    assert (await sent(request_)).sampling.leaning == ()
