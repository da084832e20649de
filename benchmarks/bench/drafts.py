"""Drafts on against off, on the sample company as it is shipped: answers that quote its documents, and others."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.bench.load import Call, send_all
from benchmarks.bench.processes import StolenTime
from benchmarks.bench.samples import Sample
from benchmarks.bench.systems import HOUSEVOICE, Housevoice, housevoice
from benchmarks.company_streams import questions
from config.models import ModelFile
from server.engine.vocabulary import Vocabulary

WITHOUT = "housevoice, drafts off"
QUOTING, OTHER = "quoting", "not quoting"
MAX_TOKENS = 160
STORY = "Tell me a story about number {}."


def measure_drafts(base: ModelFile, rounds: int, num_questions: int, folder: Path | None = None) -> Iterator[Sample]:
    """Each question once a round, to both, in turns of who is first."""
    vocabulary = Vocabulary.open(base.path)
    with tempfile.TemporaryDirectory(dir=folder) as name, ExitStack() as stack:
        servers = []
        for system, value in ((HOUSEVOICE, "auto"), (WITHOUT, "off")):
            place = Path(name) / value
            place.mkdir()
            settings = {"HOUSEVOICE_ENGINE_DRAFTS": value}
            served = housevoice(place, vocabulary.end_tokens, settings, "--sample", name=system)
            servers.append(stack.enter_context(served))
        for number in range(rounds):
            for turn, (workload, body) in enumerate(_bodies(base, num_questions)):
                for server in servers if (number + turn) % 2 else reversed(servers):
                    yield _ask(server, workload, body, base, number, turn)


def _bodies(base: ModelFile, num_questions: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Held-out questions to the two brands; and stories, which quote nothing, from the base."""
    brands = [(model, text) for model, text in questions(3 * num_questions) if model != base.name]
    for number, (model, text) in enumerate(brands[:num_questions]):
        yield QUOTING, {"model": model, "messages": [{"role": "user", "content": text}]}
        plain = {"role": "user", "content": STORY.format(number)}
        yield OTHER, {"model": base.name, "messages": [plain], "retrieval": {"enabled": False}}


def _ask(server: Housevoice, workload: str, body: dict[str, Any], base: ModelFile, number: int, turn: int) -> Sample:
    """What counts is the rate behind the first token, so how long the prompt took does not matter."""
    fixed = {
        "temperature": 0,
        "repetition_penalty": 1.0,
        "max_tokens": MAX_TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    call = Call(f"{server.url}/v1/chat/completions", {**body, **fixed}, server.headers)
    load, stolen = os.getloadavg()[0], StolenTime()
    reply = asyncio.run(send_all([call], server.read))[0]
    return Sample(
        model=base.name,
        workload=workload,
        case=str(body["model"]),
        size=1,
        system=server.name,
        round=number,
        turn=-1 - turn,
        first_seconds=reply.first_seconds,
        seconds=reply.seconds,
        num_prompt=reply.num_prompt,
        num_cached=reply.num_cached,
        num_tokens=reply.num_tokens,
        gap_seconds=0.0,
        load_average=load,
        stolen_share=stolen.share(),
        answers=(reply.text,),
    )
