"""Each target is read from the samples that are meant, in the direction that is meant."""

import pytest

from benchmarks.bench.drafts import OTHER, QUOTING, WITHOUT
from benchmarks.bench.native_bench import LLAMA_BENCH
from benchmarks.bench.samples import Sample
from benchmarks.bench.systems import HOUSEVOICE, LLAMA, LLAMA_PLAIN
from benchmarks.bench.targets import TARGETS, Outcome, judge
from benchmarks.bench.workloads import (
    ALONE,
    BESIDE,
    BUSY,
    COLD,
    MIXED,
    NO_BRAND,
    OTHER_BRAND,
    SAME_BRAND,
    SINGLE,
    STREAMS,
    SWITCH,
    THROUGHPUT,
)
from tests.benchmarks.made_samples import sample


def outcome(title: str, samples: list[Sample]) -> Outcome:
    """Of the one target whose title begins like that."""
    found = [item for item in judge(samples) if item.target.title.startswith(title)]
    assert len(found) == 1
    return found[0]


def test_nothing_measured_is_not_measured_and_never_met() -> None:
    assert {item.verdict for item in judge([])} == {"not measured"}
    assert len(judge([])) == len(TARGETS)


@pytest.mark.parametrize(("theirs", "verdict"), [(15.0, "met"), (14.9, "not met")])
def test_known_sources_are_their_time_over_ours(theirs: float, verdict: str) -> None:
    samples = [sample(), sample(system=LLAMA, first_seconds=theirs), sample(system=LLAMA, size=18, first_seconds=1.0)]
    found = outcome("Known sources, about 2,000 tokens: llama-server's p50", samples)
    assert found.ratio is not None
    assert (found.ratio.value, found.verdict) == (theirs, verdict)


@pytest.mark.parametrize(("other", "verdict"), [(1.1, "met"), (1.2, "not met")])
def test_another_brand_may_take_a_tenth_longer(other: float, verdict: str) -> None:
    samples = [
        sample(workload=SWITCH, case=SAME_BRAND, first_seconds=1.0),
        sample(workload=SWITCH, case=OTHER_BRAND, first_seconds=other),
    ]
    assert outcome("Another brand", samples).verdict == verdict


def test_new_sources_go_by_the_worse_size() -> None:
    samples = [
        sample(workload=COLD, system=system, size=size, first_seconds=seconds)
        for system, size, seconds in [(HOUSEVOICE, 9, 1.0), (LLAMA, 9, 1.0), (HOUSEVOICE, 18, 3.0), (LLAMA, 18, 2.0)]
    ]
    found = outcome("New sources", samples)
    assert found.ratio is not None
    assert (found.ratio.value, found.verdict) == (1.5, "not met")


@pytest.mark.parametrize(
    ("title", "case", "peer"),
    [("16 requests over 4", MIXED, LLAMA), ("16 requests without", NO_BRAND, LLAMA_PLAIN)],
)
def test_throughput_is_ours_over_that_of_the_peer_that_answers_such_requests(title: str, case: str, peer: str) -> None:
    samples = [
        sample(workload=THROUGHPUT, case=case, size=16, num_tokens=300, seconds=1.0),
        sample(workload=THROUGHPUT, case=case, size=16, system=peer, num_tokens=100, seconds=1.0),
    ]
    found = outcome(title, samples)
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(3.0)


def test_a_single_stream_is_measured_behind_its_first_token() -> None:
    samples = [
        sample(workload=SINGLE, case=NO_BRAND, first_seconds=10.0, seconds=11.0, num_tokens=97),
        sample(workload=SINGLE, case=NO_BRAND, system=LLAMA_BENCH, first_seconds=0.0, seconds=1.0, num_tokens=101),
    ]
    found = outcome("A single stream", samples)
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(0.96)
    assert found.verdict == "not met"


def streams(system: str, rates: dict[int, float]) -> list[Sample]:
    return [
        sample(workload=STREAMS, case=NO_BRAND, size=size, system=system, num_tokens=100, seconds=100 / rate)
        for size, rate in rates.items()
    ]


def test_streams_are_judged_at_their_worst_and_where_the_peer_dips() -> None:
    samples = [*streams(HOUSEVOICE, {1: 10.0, 2: 9.0, 4: 30.0}), *streams(LLAMA_PLAIN, {1: 10.0, 2: 5.0, 4: 25.0})]
    worst = outcome("2 to 8 streams", samples)
    dips = outcome("Streams where", samples)
    assert worst.ratio is not None
    assert dips.ratio is not None
    assert (round(worst.ratio.value, 3), worst.verdict) == (0.9, "not met")
    assert (round(dips.ratio.value, 3), dips.verdict) == (1.8, "met")


def test_a_peer_that_never_dips_leaves_that_target_unmeasured() -> None:
    samples = [*streams(HOUSEVOICE, {1: 10.0, 2: 20.0}), *streams(LLAMA_PLAIN, {1: 10.0, 2: 11.0})]
    assert outcome("Streams where", samples).verdict == "not measured"


@pytest.mark.parametrize(("workload", "title"), [(QUOTING, "Answers that quote"), (OTHER, "Other answers")])
def test_drafts_are_judged_by_the_rate_behind_the_first_token(workload: str, title: str) -> None:
    samples = [
        sample(workload=workload, case="halden", first_seconds=1.0, seconds=1.5),
        sample(workload=workload, case="halden", system=WITHOUT, first_seconds=9.0, seconds=10.0),
    ]
    found = outcome(title, samples)
    assert found.ratio is not None
    assert (found.ratio.value, found.verdict) == (2.0, "met")


def test_beside_a_busy_process_is_time_per_token_against_alone() -> None:
    samples = [
        sample(workload=BUSY, case=ALONE, first_seconds=1.0, seconds=2.0),
        sample(workload=BUSY, case=BESIDE, first_seconds=1.0, seconds=2.5),
    ]
    found = outcome("A stream beside", samples)
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(1.5)
    assert found.verdict == "not met"
