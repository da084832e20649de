"""What was promised of speed, and what was measured of it. Pure.

Each target is a ratio of systems that took turns on one machine in one run, so it means the same on every machine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.bench.drafts import OTHER, QUOTING, WITHOUT
from benchmarks.bench.native_bench import LLAMA_BENCH
from benchmarks.bench.samples import Sample
from benchmarks.bench.statistics import Ratio, ratio_of
from benchmarks.bench.systems import HOUSEVOICE, LLAMA, LLAMA_PLAIN
from benchmarks.bench.workloads import (
    ALONE,
    BESIDE,
    BUSY,
    COLD,
    MIXED,
    NO_BRAND,
    ONE_BRAND,
    OTHER_BRAND,
    SAME_BRAND,
    SINGLE,
    STREAMS,
    SWITCH,
    THROUGHPUT,
    WARM,
)

CHUNKS_OF_2000, CHUNKS_OF_4000 = 9, 18
DIP = 1.0
"""llama-server's table dips where so many streams together are slower than one."""


@dataclass(frozen=True, slots=True)
class Target:
    """bound: at least that, or at most where `is_most`."""

    title: str
    bound: float
    is_most: bool
    measure: Callable[["Samples"], Ratio | None]

    def is_met(self, ratio: Ratio) -> bool:
        return ratio.value <= self.bound if self.is_most else ratio.value >= self.bound


@dataclass(frozen=True, slots=True)
class Outcome:
    """ratio: None where this run did not measure it."""

    target: Target
    ratio: Ratio | None

    @property
    def verdict(self) -> str:
        if self.ratio is None:
            return "not measured"
        return "met" if self.target.is_met(self.ratio) else "not met"


class Samples:
    """Of one model, to be asked for by what they are."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def of(self, workload: str, system: str, case: str = "", size: int | None = None) -> list[Sample]:
        return [
            item
            for item in self._samples
            if (item.workload, item.system, item.case) == (workload, system, case) and size in (None, item.size)
        ]

    def all_of(self, workload: str, system: str) -> list[Sample]:
        """Whatever the case."""
        return [item for item in self._samples if (item.workload, item.system) == (workload, system)]

    def first(self, workload: str, system: str, case: str = "", size: int | None = None) -> list[float]:
        """Seconds to the first byte."""
        return [item.first_seconds for item in self.of(workload, system, case, size)]

    def rate(self, workload: str, system: str, case: str, size: int | None = None) -> list[float]:
        """Tokens per second of all streams together."""
        return [item.tokens_per_second for item in self.of(workload, system, case, size)]

    def sizes(self, workload: str) -> list[int]:
        return sorted({item.size for item in self._samples if item.workload == workload})


def judge(samples: Sequence[Sample]) -> list[Outcome]:
    """Of one model's samples."""
    given = Samples(samples)
    return [Outcome(target, target.measure(given)) for target in TARGETS]


def _warm(size: int, percent: float) -> Callable[[Samples], Ratio | None]:
    return lambda samples: ratio_of(
        samples.first(WARM, LLAMA, size=size), samples.first(WARM, HOUSEVOICE, size=size), percent
    )


def _brand_switch(samples: Samples) -> Ratio | None:
    return ratio_of(samples.first(SWITCH, HOUSEVOICE, OTHER_BRAND), samples.first(SWITCH, HOUSEVOICE, SAME_BRAND))


def _cold(samples: Samples) -> Ratio | None:
    """The worst of the sizes: it is never to be more."""
    ratios = [
        ratio_of(samples.first(COLD, HOUSEVOICE, size=size), samples.first(COLD, LLAMA, size=size))
        for size in samples.sizes(COLD)
    ]
    return max((ratio for ratio in ratios if ratio), key=lambda ratio: ratio.value, default=None)


def _throughput(case: str) -> Callable[[Samples], Ratio | None]:
    peer = LLAMA_PLAIN if case == NO_BRAND else LLAMA
    return lambda samples: ratio_of(samples.rate(THROUGHPUT, HOUSEVOICE, case), samples.rate(THROUGHPUT, peer, case))


def _single(samples: Samples) -> Ratio | None:
    ours, bare = (
        [item.decode_rate for item in samples.of(SINGLE, system, NO_BRAND)] for system in (HOUSEVOICE, LLAMA_BENCH)
    )
    return ratio_of(ours, bare)


def _streams_against_one(samples: Samples) -> Ratio | None:
    """The worst number of streams."""
    one = samples.rate(STREAMS, HOUSEVOICE, NO_BRAND, 1)
    ratios = [
        ratio_of(samples.rate(STREAMS, HOUSEVOICE, NO_BRAND, size), one) for size in samples.sizes(STREAMS) if size > 1
    ]
    return min((ratio for ratio in ratios if ratio), key=lambda ratio: ratio.value, default=None)


def _streams_at_dips(samples: Samples) -> Ratio | None:
    """The worst of the numbers of streams at which llama-server is slower than with one; None where it never is."""
    alone = samples.rate(STREAMS, LLAMA_PLAIN, NO_BRAND, 1)
    ratios = []
    for size in samples.sizes(STREAMS):
        theirs = samples.rate(STREAMS, LLAMA_PLAIN, NO_BRAND, size)
        against_one = ratio_of(theirs, alone)
        if against_one and against_one.value < DIP:
            ratios.append(ratio_of(samples.rate(STREAMS, HOUSEVOICE, NO_BRAND, size), theirs))
    return min((ratio for ratio in ratios if ratio), key=lambda ratio: ratio.value, default=None)


def _drafts(workload: str) -> Callable[[Samples], Ratio | None]:
    """Rates behind the first token, of all voices together."""

    def measure(samples: Samples) -> Ratio | None:
        on, off = (
            [item.decode_rate for item in samples.all_of(workload, system) if item.num_tokens > 1]
            for system in (HOUSEVOICE, WITHOUT)
        )
        return ratio_of(on, off)

    return measure


def _busy(samples: Samples) -> Ratio | None:
    alone, beside = ([1 / item.decode_rate for item in samples.of(BUSY, HOUSEVOICE, case)] for case in (ALONE, BESIDE))
    return ratio_of(beside, alone)


TARGETS = (
    Target("Known sources, about 2,000 tokens: llama-server's p50 TTFT / ours", 15, False, _warm(CHUNKS_OF_2000, 50)),
    Target("Known sources, about 4,000 tokens: llama-server's p50 TTFT / ours", 30, False, _warm(CHUNKS_OF_4000, 50)),
    Target("Known sources, about 2,000 tokens: the same at p95", 10, False, _warm(CHUNKS_OF_2000, 95)),
    Target("Known sources, about 4,000 tokens: the same at p95", 20, False, _warm(CHUNKS_OF_4000, 95)),
    Target("Another brand on the same sources: TTFT / the same brand's", 1.1, True, _brand_switch),
    Target("New sources: our TTFT / llama-server's, the worse size", 1.05, True, _cold),
    Target("16 requests over 4 brands: our tokens/s / llama-server's", 2.5, False, _throughput(MIXED)),
    Target("16 requests of one brand: our tokens/s / llama-server's", 1.0, False, _throughput(ONE_BRAND)),
    Target("16 requests without a brand: our tokens/s / llama-server's", 1.0, False, _throughput(NO_BRAND)),
    Target("A single stream: our decode rate / llama-bench's", 0.97, False, _single),
    Target("2 to 8 streams: our tokens/s together / one stream's, the worst", 1.0, False, _streams_against_one),
    Target("Streams where llama-server dips: our tokens/s / its", 1.5, False, _streams_at_dips),
    Target("Answers that quote: tokens/s with drafts / without", 1.4, False, _drafts(QUOTING)),
    Target("Other answers: tokens/s with drafts / without", 0.98, False, _drafts(OTHER)),
    Target("A stream beside a busy process: time / alone", 1.4, True, _busy),
)
