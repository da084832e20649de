"""Fewer threads beside a busy process, and all of them again when it is gone."""

from dataclasses import dataclass

import pytest

from server.engine.threads import Threads


@dataclass
class Machine:
    """Steps take what `seconds` says by the number of threads. share: of their time that the threads get."""

    seconds: dict[int, float]
    share: float = 1.0

    def run(self, threads: Threads, duration: float) -> list[int]:
        """The counts that steps were computed by."""
        counts: list[int] = []
        while duration > 0:
            count = threads.count
            counts.append(count)
            seconds = self.seconds[count]
            threads.note(seconds, self.share * count * seconds, 0.01)
            duration -= seconds
        return counts


FREE = Machine({1: 0.018, 2: 0.010})
BESIDE_ONE = Machine({1: 0.018, 2: 0.030}, share=0.6)


def test_a_free_machine_uses_all_threads_all_the_time() -> None:
    threads = Threads(2)
    assert set(FREE.run(threads, 20)) == {2}
    assert threads.settled == 2


def test_beside_a_busy_process_one_thread_is_quicker_and_stays_but_for_trials() -> None:
    threads = Threads(2)
    counts = BESIDE_ONE.run(threads, 30)
    assert threads.settled == 1
    assert 0.9 < counts.count(1) / len(counts) < 1


def test_all_threads_compute_again_when_the_other_process_is_gone() -> None:
    threads = Threads(2)
    BESIDE_ONE.run(threads, 30)
    FREE.run(threads, 6)
    assert threads.settled == 2
    assert set(FREE.run(threads, 10)) == {2}


def test_fewer_threads_that_are_no_quicker_are_seldom_tried() -> None:
    """Our threads get little of their time, as on a machine whose host is busy, but one alone takes longer still."""
    slow = Machine({1: 0.030, 2: 0.020}, share=0.6)
    threads = Threads(2)
    counts = slow.run(threads, 60)
    assert threads.settled == 2
    assert 0 < counts.count(1) / len(counts) < 0.05


def test_of_many_threads_as_many_are_left_out_as_pays() -> None:
    """Sixteen cores of which two are held: what all wait for is a shared one until fourteen are left."""
    busy = {count: 0.16 / count * (3 if count > 14 else 1) for count in range(1, 17)}
    threads = Threads(16)
    Machine(busy, share=0.6).run(threads, 30)
    assert threads.settled == 14


@pytest.mark.parametrize("most", [0, 1])
def test_one_thread_stays_one_and_a_gpu_needs_none(most: int) -> None:
    threads = Threads(most)
    Machine({0: 0.01, 1: 0.01}, share=0.1).run(threads, 5)
    assert threads.count == threads.settled == most


def test_long_steps_are_tried_twice_not_eight_times() -> None:
    threads = Threads(2)
    counts = Machine({1: 1.8, 2: 3.0}, share=0.6).run(threads, 12)
    assert counts[:5] == [2, 2, 1, 1, 1]


def test_a_moments_noise_is_forgotten_soon() -> None:
    threads = Threads(2)
    BESIDE_ONE.run(threads, 1)
    assert threads.settled == 1
    counts = FREE.run(threads, 3)
    assert threads.settled == 2
    assert counts.count(1) < 50


def test_more_than_one_of_many_processors_can_be_held_at_a_time() -> None:
    """What our threads get of their time says when to go on."""
    threads = Threads(8)
    for _ in range(400):
        count = threads.count
        is_held = count > 5
        threads.note(0.08 / count * (3 * (count - 5) if is_held else 1), 0.08 * (0.5 if is_held else 0.95), 0.01)
    assert threads.settled == 5
