"""The loop on a fake backend, with its events by request."""

from collections.abc import Callable

from config.settings import EngineSettings
from server.engine.backend import BackendShape
from server.engine.core import EngineCore
from server.engine.fake import FakeBackend, fake_vocabulary
from server.engine.messages import Event, FailedEvent, FinishedEvent, TextEvent
from server.engine.steptime import StepTable
from server.engine.storage import EngineStorage


class Bench:
    """A core on a fake backend, with its events by request. prepare: called with the backend before the core starts."""

    def __init__(
        self,
        settings: EngineSettings,
        shape: BackendShape,
        storage: EngineStorage | None = None,
        prepare: Callable[[FakeBackend], object] = lambda _: None,
        table: StepTable | None = None,
    ) -> None:
        self.backend = FakeBackend(shape)
        prepare(self.backend)
        self.events: list[Event] = []
        self.core = EngineCore(self.backend, fake_vocabulary(), settings, self.events.append, storage, table)
        self.backend.batches.clear()

    def run(self, max_steps: int = 10_000) -> None:
        for _ in range(max_steps):
            if not self.core.step():
                self.core.check_integrity()
                return
        raise AssertionError(f"not idle after {max_steps} steps")

    def text(self, request_id: str) -> str:
        return "".join(event.text for event in self._of(request_id) if isinstance(event, TextEvent))

    def end(self, request_id: str) -> FinishedEvent | FailedEvent:
        """The one terminal event, which must be the last one."""
        events = self._of(request_id)
        ends = [event for event in events if isinstance(event, FinishedEvent | FailedEvent)]
        assert len(ends) == 1
        assert events[-1] is ends[0]
        return ends[0]

    def finished(self, request_id: str) -> FinishedEvent:
        end = self.end(request_id)
        assert isinstance(end, FinishedEvent), end
        return end

    def failed(self, request_id: str) -> FailedEvent:
        end = self.end(request_id)
        assert isinstance(end, FailedEvent), end
        return end

    def _of(self, request_id: str) -> list[Event]:
        return [event for event in self.events if event.request_id == request_id]
