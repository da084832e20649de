"""Which voices may share a batch: tried with each adapter when it is loaded, and stated for /metrics and doctor."""

import logging
from dataclasses import replace
from typing import Literal

from config.errors import EngineError
from server.engine.backend import EngineBackend
from server.engine.messages import MixStatus
from server.engine.mix_check import find_mix_problem, time_mixing
from server.engine.prefixes import BASE_VOICE
from server.engine.scheduler import Work

WORTH_IT = 1.1
"""One batch may take this much longer than one for each voice: streams then go on evenly, and not in turns."""
OFF = 'engine.mix_brands = "off"'
UNTRIED = "not tried yet, since no adapter was used so far"

log = logging.getLogger(__name__)


class Mixer:
    """Voices that may share batches are one group for the scheduler; every other one takes turns with it."""

    def __init__(self, backend: EngineBackend, mode: Literal["auto", "on", "off"], turn_steps: int) -> None:
        self._backend = backend
        self._mode = mode
        self._turn_steps = turn_steps
        self._tried: dict[str, bool] = {}
        self._status = MixStatus(note=OFF if mode == "off" else self._problem() or UNTRIED)

    @property
    def is_open(self) -> bool:
        """Whether mixing is still to be tried, or works."""
        return self._mode != "off" and not self._problem() and not self._is_slow

    def is_tried(self, adapter: str) -> bool:
        return adapter in self._tried

    def status(self) -> MixStatus:
        if self._status.is_on and not self.is_open:
            self._status = replace(self._status, is_on=False, note=self._problem())
        return self._status

    def grouped(self, work: Work) -> Work:
        """With the base's name for a voice that may share its batches."""
        is_mixed = self._tried.get(work.voice, False) and self.is_open
        return replace(work, voice=BASE_VOICE) if is_mixed else work

    def note_batch(self, num_voices: int) -> None:
        if num_voices > 1:
            self._status = replace(self._status, num_batches=self._status.num_batches + 1)

    def try_adapter(self, adapter: str, name: str) -> None:
        """With the base and another adapter that was tried already. It must be loaded, and a few cells free."""
        if not self.is_open or adapter in self._tried:
            return
        others = [other for other, works in self._tried.items() if works]
        problem = find_mix_problem(self._backend, [None, adapter, *others[-1:]])
        self._tried[adapter] = not problem
        if problem:
            log.warning("Adapter %s takes turns with other brands: %s.", name, problem)
        if not others:
            self._decide(adapter, problem)

    def forget(self, adapter: str) -> None:
        """It is freed."""
        self._tried.pop(adapter, None)

    @property
    def _is_slow(self) -> bool:
        status = self._status
        return self._mode == "auto" and status.together_seconds > WORTH_IT * status.apart_seconds

    def _problem(self) -> str:
        if not self._backend.shape.can_share_prefixes:
            return "this model keeps a running state"
        return self._backend.mix_problem

    def _decide(self, adapter: str, problem: str) -> None:
        if problem:
            self._status = MixStatus(note=problem)
            return
        if not self._status.together_seconds:
            self._time(adapter)
        status, wait = self._status, "one batch takes longer than one for each"
        self._status = replace(status, is_on=self.is_open, note="" if self.is_open else self._problem() or wait)
        log.info("Brands %s (%s).", "share batches" if self._status.is_on else "take turns", self._status)

    def _time(self, adapter: str) -> None:
        try:
            times = time_mixing(self._backend, None, adapter, self._turn_steps)
        except EngineError as error:
            log.warning("Mixed batches could not be timed: %s", error.message)
            return
        self._status = replace(self._status, apart_seconds=times.apart, together_seconds=times.together)
