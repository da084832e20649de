"""Turns between voices: fair, without starvation, and never more in a batch than fits."""

from hypothesis import given
from hypothesis import strategies as st

from server.engine.scheduler import Plan, Scheduler, Slice, Work

DECODE = 0


def voices(scheduler: Scheduler, works: list[Work], num_steps: int) -> str:
    plans = [scheduler.plan(works) for _ in range(num_steps)]
    return "".join(plan.voice for plan in plans if plan)


def test_no_work_no_plan() -> None:
    assert Scheduler(2, 16).plan([]) is None


def test_one_voice_goes_on_for_ever() -> None:
    assert voices(Scheduler(2, 16), [Work("1", "A", DECODE)], 5) == "AAAAA"


def test_voices_take_turns_of_so_many_steps() -> None:
    works = [Work("1", "A", DECODE), Work("2", "B", DECODE), Work("3", "C", DECODE)]
    assert voices(Scheduler(2, 16), works, 12) == "AABBCCAABBCC"


def test_a_turn_ends_when_a_slice_of_prompt_was_read() -> None:
    works = [Work("long", "", 1_000), Work("stream", "A", DECODE)]
    plans = [Scheduler(2, 16).plan(works)]
    assert plans == [Plan("", (), (Slice("long", 16),))]
    scheduler = Scheduler(2, 16)
    assert [plan.voice for plan in (scheduler.plan(works) for _ in range(6)) if plan] == ["", "A", "A", "", "A", "A"]


def test_everything_of_one_voice_goes_into_one_batch() -> None:
    works = [Work("1", "A", 5), Work("2", "A", DECODE), Work("3", "A", 20), Work("4", "A", 7), Work("5", "A", DECODE)]
    assert Scheduler(2, 16).plan(works) == Plan("A", ("2", "5"), (Slice("1", 5), Slice("3", 11)))


def test_a_voice_that_comes_again_and_again_does_not_overtake_one_that_waits() -> None:
    """Regression: a voice without work for a step used to count as one that never had a turn."""
    scheduler = Scheduler(1, 16)
    waiting = Work("w", "W", DECODE)
    served = []
    for step in range(12):
        fresh = Work(f"f{step}", f"F{step % 3}", DECODE)
        plan = scheduler.plan([fresh, waiting])
        assert plan is not None
        served.append(plan.voice)
    assert served.count("W") >= 5


work_lists = st.lists(
    st.builds(Work, st.uuids().map(str), st.sampled_from(["", "A", "B", "C"]), st.integers(0, 40)),
    min_size=1,
    max_size=8,
)


@given(st.lists(work_lists, min_size=1, max_size=20), st.integers(1, 4), st.integers(1, 32))
def test_a_batch_is_of_one_voice_within_the_slice_and_names_nobody_twice(
    steps: list[list[Work]], turn_steps: int, slice_tokens: int
) -> None:
    scheduler = Scheduler(turn_steps, slice_tokens)
    for works in steps:
        plan = scheduler.plan(works)
        assert plan is not None
        by_name = {work.request_id: work for work in works}
        names = [*plan.decodes, *(part.request_id for part in plan.slices)]
        assert names
        assert len(set(names)) == len(names)
        assert {by_name[name].voice for name in names} == {plan.voice}
        assert all(by_name[name].num_prefill == 0 for name in plan.decodes)
        assert all(0 < part.num_tokens <= by_name[part.request_id].num_prefill for part in plan.slices)
        assert sum(part.num_tokens for part in plan.slices) <= slice_tokens
        assert {work.request_id for work in works if work.voice == plan.voice and not work.num_prefill} == set(
            plan.decodes
        )


@given(work_lists, st.integers(1, 4), st.integers(1, 32))
def test_no_voice_waits_longer_than_one_turn_of_each_other(
    works: list[Work], turn_steps: int, slice_tokens: int
) -> None:
    scheduler = Scheduler(turn_steps, slice_tokens)
    names = {work.voice for work in works}
    longest_wait = (len(names) - 1) * turn_steps
    last = dict.fromkeys(names, 0)
    for step in range(1, 60):
        plan = scheduler.plan(works)
        assert plan is not None
        last[plan.voice] = step
        assert all(step - last[name] <= longest_wait for name in names)
