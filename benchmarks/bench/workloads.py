"""What is asked, as steps: each is put to its systems in turn, at one time each. Deciding only; `run` does it."""

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.bench.pool import question, zipf_draw
from benchmarks.bench.systems import Ask, System

WARM_UP, WARM, COLD, SWITCH = "warm-up", "warm", "cold", "switch"
THROUGHPUT, SINGLE, STREAMS, BUSY = "throughput", "single", "streams", "busy"
ENGINE_WORKLOADS = (WARM, THROUGHPUT, COLD, SWITCH, SINGLE, STREAMS, BUSY)
"""All but those of drafts, which have servers of their own."""
SAME_BRAND, OTHER_BRAND = "same brand", "other brand"
MIXED, ONE_BRAND, NO_BRAND = "4 brands", "one brand", "no brand"
ALONE, BESIDE = "alone", "beside a busy process"
FIRST_TOKENS = 8
"""Asked for where only the time to the first one counts."""
NUM_TOGETHER = 16
STORY = "Tell me a long story about {} parcels and a cold store."


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything one round has. chunks: in one prompt; each is about 220 tokens with its markers.
    num_questions: with drafts and without.
    """

    chunks: tuple[int, ...] = (2, 4, 9, 18)
    cold_chunks: tuple[int, ...] = (4, 9)
    warm_requests: int = 3
    warm_ups: int = 8
    pool: int = 24
    answer_tokens: int = 200
    streams: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    stream_tokens: int = 64
    num_brands: int = 4
    num_questions: int = 12

    @property
    def num_cold(self) -> int:
        """Chunks that one round's cold questions use up."""
        return sum(self.cold_chunks)


QUICK = Sizes((3, 9), (4,), 2, 2, 12, 32, (1, 4, 8), 16, num_questions=2)


@dataclass(frozen=True, slots=True)
class Step:
    """`asks` go out together. is_beside_busy: while a foreign process keeps one core busy."""

    workload: str
    case: str
    size: int
    asks: tuple[Ask, ...]
    systems: tuple[System, ...]
    is_beside_busy: bool = False


@dataclass(frozen=True, slots=True)
class Systems:
    """`example` is asked about sources only, once a size: it reads every prompt anew."""

    housevoice: System
    llama: System
    llama_plain: System
    example: System | None


class MakesAsks(Protocol):
    def ask(
        self, question: str, documents: tuple[str, ...], brand: int | None, max_tokens: int, *, runs_on: bool = False
    ) -> Ask:
        """The question with the prompt that housevoice will read for it."""


class Workloads:
    """The steps of each round, the same for one seed. paths: of all chunks, the pool's first."""

    def __init__(self, prompter: MakesAsks, systems: Systems, sizes: Sizes, paths: Sequence[str], seed: int) -> None:
        self._prompter = prompter
        self._systems = systems
        self._sizes = sizes
        self._paths = paths
        self._chance = random.Random(seed)
        self._cold = iter(paths[sizes.pool :])
        self._count = 0

    def warm_ups(self) -> Iterator[Step]:
        """Every chunk of the pool among few and among many, since numbers differ, then draws as they will come; and
        some of it for the peer.
        """
        both = (self._systems.housevoice, self._systems.llama)
        for size, systems in ((self._sizes.chunks[0], both[:1]), (self._sizes.chunks[-1], both)):
            for start in range(0, self._sizes.pool, size):
                places = range(start, min(start + size, self._sizes.pool))
                yield Step(WARM_UP, "", size, (self._about(places, 0),), systems)
        for number in range(self._sizes.warm_ups):
            for size in self._sizes.chunks:
                draw = zipf_draw(self._chance, self._sizes.pool, size)
                yield Step(WARM_UP, "", size, (self._about(draw, self._brand(number)),), both[:1])

    def steps(self, number: int, only: Collection[str] = ENGINE_WORKLOADS) -> Iterator[Step]:
        """Of round `number`, from the workload that matters most; made one by one, as they are asked."""
        makers = {
            WARM: lambda: self._warm(number),
            THROUGHPUT: self._throughput,
            COLD: lambda: self._colds(number),
            SWITCH: lambda: self._switch(number),
            SINGLE: self._single,
            STREAMS: self._streams,
            BUSY: self._busy,
        }
        for workload, make in makers.items():
            if workload in only:
                yield from make()

    def _warm(self, number: int) -> Iterator[Step]:
        systems = self._systems
        for size in reversed(self._sizes.chunks):
            for place in range(self._sizes.warm_requests):
                draw = zipf_draw(self._chance, self._sizes.pool, size)
                ask = self._about(draw, self._brand(number + place))
                asked: tuple[System, ...] = (systems.housevoice, systems.llama)
                if number == place == 0 and systems.example:
                    asked = (*asked, systems.example)
                yield Step(WARM, "", size, (ask,), asked)

    def _colds(self, number: int) -> Iterator[Step]:
        for place, size in enumerate(self._sizes.cold_chunks):
            documents = tuple(next(self._cold) for _ in range(size))
            ask = self._ask(documents, self._brand(number + place))
            yield Step(COLD, "", size, (ask,), (self._systems.housevoice, self._systems.llama))

    def _switch(self, number: int) -> Iterator[Step]:
        """One brand asks, asks again, and then another asks about the same."""
        size = self._sizes.cold_chunks[0]
        draw = zipf_draw(self._chance, self._sizes.pool, size)
        one, other = self._brand(number), self._brand(number + 1)
        for case, brand in ((WARM_UP, one), (SAME_BRAND, one), (OTHER_BRAND, other)):
            workload = WARM_UP if case == WARM_UP else SWITCH
            yield Step(workload, case, size, (self._about(draw, brand),), (self._systems.housevoice,))

    def _throughput(self) -> Iterator[Step]:
        every, plain = self._sizes.num_brands, (self._systems.housevoice, self._systems.llama_plain)
        brands: dict[str, list[int | None]] = {
            MIXED: [number % every for number in range(NUM_TOGETHER)],
            ONE_BRAND: [0] * NUM_TOGETHER,
            NO_BRAND: [None] * NUM_TOGETHER,
        }
        for case, numbers in brands.items():
            asks = tuple(self._story(brand, self._sizes.answer_tokens) for brand in numbers)
            systems = plain if case == NO_BRAND else (self._systems.housevoice, self._systems.llama)
            yield Step(THROUGHPUT, case, NUM_TOGETHER, asks, systems)

    def _single(self) -> Iterator[Step]:
        ask = self._story(None, self._sizes.answer_tokens)
        yield Step(SINGLE, NO_BRAND, 1, (ask,), (self._systems.housevoice, self._systems.llama_plain))

    def _streams(self) -> Iterator[Step]:
        for size in self._sizes.streams:
            asks = tuple(self._story(None, self._sizes.stream_tokens) for _ in range(size))
            yield Step(STREAMS, NO_BRAND, size, asks, (self._systems.housevoice, self._systems.llama_plain))

    def _busy(self) -> Iterator[Step]:
        for case in (ALONE, BESIDE):
            ask = self._story(None, self._sizes.stream_tokens)
            systems = (self._systems.housevoice, self._systems.llama_plain)
            yield Step(BUSY, case, 1, (ask,), systems, is_beside_busy=case == BESIDE)

    def _brand(self, number: int) -> int:
        return number % self._sizes.num_brands

    def _about(self, places: Sequence[int], brand: int) -> Ask:
        return self._ask(tuple(self._paths[place] for place in places), brand)

    def _ask(self, documents: tuple[str, ...], brand: int) -> Ask:
        self._count += 1
        return self._prompter.ask(question(self._chance, self._count), documents, brand, FIRST_TOKENS)

    def _story(self, brand: int | None, num_tokens: int) -> Ask:
        self._count += 1
        return self._prompter.ask(STORY.format(self._count), (), brand, num_tokens, runs_on=True)
