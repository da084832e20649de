"""The engine's core on llama.cpp, and what the tests on real models ask of it."""

from dataclasses import replace
from pathlib import Path

from config.settings import EngineSettings
from server.engine.core import EngineCore
from server.engine.llama import ContextShape, LlamaBackend
from server.engine.messages import Event, FailedEvent, FinishedEvent, GenerateRequest, TextEvent, TokenChoice
from server.engine.steptime import StepTable
from server.engine.storage import EngineStorage
from server.engine.vocabulary import Vocabulary

NEAR = 0.1
"""Kernels round differently for different batch sizes, and cells that lie elsewhere are summed up in another order:
where two logits are this close, either may win."""


class LlamaModel:
    def __init__(
        self,
        path: Path,
        settings: EngineSettings,
        storage: EngineStorage | None = None,
        table: StepTable | None = None,
    ) -> None:
        self.vocabulary = Vocabulary.open(path)
        self.backend = LlamaBackend(path, ContextShape.from_settings(settings))
        self.events: list[Event] = []
        self.core = EngineCore(self.backend, self.vocabulary, settings, self.events.append, storage, table)

    def run(self, *requests: GenerateRequest) -> list[list[TokenChoice]]:
        """All of them together; each one's tokens."""
        self.events.clear()
        for request in requests:
            self.core.submit(request)
        while self.core.step():
            pass
        self.core.check_integrity()
        assert not [event for event in self.events if isinstance(event, FailedEvent)]
        return [self.choices(request.request_id) for request in requests]

    def cold(self, request: GenerateRequest) -> list[TokenChoice]:
        """Its answer alone, with nothing cached before or after."""
        self.core.drop_prefixes(None)
        (answer,) = self.run(replace(request, request_id=f"cold {request.request_id}"))
        self.core.drop_prefixes(None)
        return answer

    def choices(self, request_id: str) -> list[TokenChoice]:
        events = [event for event in self.events if isinstance(event, TextEvent) and event.request_id == request_id]
        return [choice for event in events for choice in event.choices]

    def finished(self, request_id: str) -> FinishedEvent:
        (event,) = [e for e in self.events if isinstance(e, FinishedEvent) and e.request_id == request_id]
        return event


def assert_equal_answers(reference: list[TokenChoice], answer: list[TokenChoice]) -> None:
    """Token-identical, or parting where the reference's two best logits lie closer than NEAR."""
    for expected, found in zip(reference, answer, strict=False):
        if expected.chosen.token != found.chosen.token:
            best, second = expected.alternatives
            assert best.logprob - second.logprob < NEAR, (expected, found)
            return
    assert len(reference) == len(answer)
