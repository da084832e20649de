"""How the rows of a batch are used, by tables that are given."""

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from server.engine.rows import Offer, Pace, Rows, draft_problem
from server.engine.scheduler import Plan, Scheduler, Slice, Work
from server.engine.steptime import StepTable

SMOOTH = StepTable(((1, 0.020), (2, 0.024), (4, 0.032), (8, 0.048), (16, 0.080), (64, 0.320)))
STEEP = StepTable(((1, 0.010), (2, 0.060), (4, 0.090), (8, 0.110)))
"""Two to seven streams are better served one by one, and more only as eight rows."""
SLICE, GAP = 256, 0.2


def rows(table: StepTable, gap_seconds: float = GAP) -> Rows:
    return Rows(table, max_rows=272, max_logits=16, max_gap_seconds=gap_seconds)


def scheduler(table: StepTable, turn_steps: int = 8, gap_seconds: float = GAP) -> Scheduler:
    return Scheduler(turn_steps, SLICE, rows(table, gap_seconds))


def stream(name: str, voice: str = "A", offer: Offer = Offer()) -> Work:  # noqa: B008  frozen
    return Work(name, voice, 0, offer)


def test_nobody_is_held_up_where_nobody_streams() -> None:
    plan = scheduler(SMOOTH).plan([Work("1", "A", 1_000)])
    assert plan == Plan("A", (), (Slice("1", SLICE),))


def test_a_slice_beside_streams_takes_no_longer_than_the_gap() -> None:
    plan = scheduler(SMOOTH).plan([stream("1"), stream("2"), Work("3", "A", 1_000)])
    assert plan == Plan("A", ("1", "2"), (Slice("3", 38),))
    assert SMOOTH.seconds(2 + 38) <= GAP < SMOOTH.seconds(2 + 39)


def test_streams_of_other_voices_are_not_held_up_longer_either() -> None:
    plan = scheduler(SMOOTH).plan([Work("1", "", 1_000), stream("2")])
    assert plan == Plan("", (), (Slice("1", 40),))


def test_a_slower_machine_than_measured_reads_smaller_slices() -> None:
    plan = scheduler(SMOOTH).plan([stream("1"), Work("2", "A", 1_000)], pace=2.0)
    assert plan is not None
    assert plan.slices == (Slice("2", 19),)


def test_reading_goes_on_however_small_the_gap_is() -> None:
    plan = scheduler(SMOOTH, gap_seconds=0.001).plan([stream("1"), Work("2", "A", 1_000)])
    assert plan == Plan("A", ("1",), (Slice("2", 8),))


def test_where_a_plain_step_takes_the_gap_already_a_prompt_may_double_it() -> None:
    works = [*(stream(str(number)) for number in range(16)), Work("p", "A", 1_000)]
    plan = scheduler(SMOOTH, gap_seconds=0.05).plan(works)
    assert plan is not None
    assert plan.slices == (Slice("p", 16),)
    assert SMOOTH.seconds(16 + 16) == 2 * SMOOTH.seconds(16)


def test_turns_of_streams_are_shorter_as_slices_are_smaller() -> None:
    """Regression of a thought: with 8 steps between slices of 40 tokens, prompts would be read at half the speed."""
    works, turns = [Work("1", "", 1_000), stream("2")], scheduler(SMOOTH)
    assert [plan.voice for plan in (turns.plan(works) for _ in range(6)) if plan] == ["", "A", "", "A", "", "A"]


def test_streams_take_turns_where_one_by_one_is_faster() -> None:
    works, turns = [stream("1"), stream("2"), stream("3")], scheduler(STEEP)
    plans = [turns.plan(works) for _ in range(6)]
    assert [plan.decodes for plan in plans if plan] == [("1",), ("2",), ("3",)] * 2


def test_a_stream_that_ends_leaves_its_turn_to_the_others() -> None:
    turns = scheduler(STEEP)
    turns.plan([stream("1"), stream("2"), stream("3")])
    plans = [turns.plan([stream("1"), stream("3")]) for _ in range(4)]
    assert [plan.decodes for plan in plans if plan] == [("3",), ("1",), ("3",), ("1",)]


def test_a_batch_is_filled_up_where_more_rows_are_quicker() -> None:
    dip = StepTable(((1, 0.030), (2, 0.040), (7, 0.259), (8, 0.100), (16, 0.199)))
    works = [stream(str(number), offer=Offer((), room=15)) for number in range(7)]
    plan = scheduler(dip).plan(works)
    assert plan is not None
    assert len(plan.decodes) + sum(part.num_tokens for part in plan.drafts) == 8


def test_likely_drafts_go_first_and_their_streams_stand_last() -> None:
    works = [stream("1", offer=Offer((0.9, 0.8, 0.1))), stream("2", offer=Offer((0.2,))), stream("3")]
    assert scheduler(SMOOTH).plan(works) == Plan("A", ("2", "3", "1"), (), (Slice("1", 2),))


def test_nothing_is_drafted_beside_a_prompt() -> None:
    plan = scheduler(SMOOTH).plan([stream("1", offer=Offer((1.0,) * 8)), Work("2", "A", 4)])
    assert plan == Plan("A", ("1",), (Slice("2", 4),))


@pytest.mark.parametrize("max_logits", [1, 2, 5])
def test_no_more_logits_than_are_kept(max_logits: int) -> None:
    counts = Rows(SMOOTH, 272, max_logits, GAP).drafts([Offer((1.0,) * 8)])
    assert counts == [max_logits - 1]


def test_why_nothing_is_drafted() -> None:
    assert draft_problem(rows(SMOOTH), "auto", can_cut=True) == ""
    assert "off" in draft_problem(rows(SMOOTH), "off", can_cut=True)
    assert "state" in draft_problem(rows(SMOOTH), "auto", can_cut=False)
    assert "not measured" in draft_problem(Rows(), "auto", can_cut=True)
    linear = StepTable(((1, 0.01), (2, 0.02)))
    assert "cost as much" in draft_problem(rows(linear), "auto", can_cut=True)


def test_the_pace_follows_what_steps_take() -> None:
    pace = Pace(SMOOTH)
    for _ in range(100):
        pace.note(1, 0.040)
    assert pace.factor == pytest.approx(2.0, rel=0.01)
    pace.note(1, 1e9)
    assert pace.factor < 4, "one hiccup is no slow machine"


offers = st.lists(st.floats(0, 1), max_size=8).map(lambda gains: Offer(tuple(sorted(gains, reverse=True)), room=8))


@hypothesis_settings(deadline=None)
@given(st.lists(offers, min_size=1, max_size=8), st.integers(8, 24))
def test_drafts_stay_within_what_is_offered_and_what_fits(offered: list[Offer], max_logits: int) -> None:
    for table in (SMOOTH, STEEP):
        counts = Rows(table, 272, max_logits, GAP).drafts(offered)
        assert all(0 <= count <= 8 for count in counts)
        assert len(offered) + sum(counts) <= max_logits


@hypothesis_settings(deadline=None)
@given(
    st.lists(
        st.builds(
            Work,
            st.uuids().map(str),
            st.sampled_from(["", "A", "B"]),
            st.sampled_from([0, 0, 1, 300]),
            offers,
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([SMOOTH, STEEP]),
)
def test_every_request_moves_on(works: list[Work], table: StepTable) -> None:
    turns, moved = scheduler(table, turn_steps=2), set()
    for _ in range(80):
        plan = turns.plan(works)
        assert plan is not None
        assert {part.request_id for part in plan.drafts} <= set(plan.decodes)
        moved |= {*plan.decodes, *(part.request_id for part in plan.slices)}
    starving = {work.request_id for work in works} - moved
    assert all(work.num_prefill for work in works if work.request_id in starving), "only behind an endless older prompt"
