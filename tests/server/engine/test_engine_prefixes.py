"""The prefix store never offers a cell that was computed otherwise, never overcommits, and loses nothing."""

import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from config.errors import EngineError
from server.engine.messages import Scope
from server.engine.prefixes import NO_MATCH, PrefixKey, PrefixStore, Tokens

BASE = PrefixKey()


def private(*names: str, start: int = 0) -> PrefixKey:
    """A prompt whose tokens from `start` on belong to each of the names in turn, three tokens each."""
    return PrefixKey(tuple(Scope(start + 3 * index, name) for index, name in enumerate(names)))


def tokens(*values: int) -> Tokens:
    return np.array(values, np.int32)


def fill(store: PrefixStore, key: PrefixKey, values: tuple[int, ...], *, room: int = 0) -> int:
    """Admit, compute all of it, and return the sequence."""
    prompt = tokens(*values)
    match = store.match(key, prompt)
    placement = store.admit(key, prompt, len(values) + room, match)
    store.make_room(len(values) - placement.num_shared)
    store.extend(placement.sequence, values[placement.num_shared :])
    return placement.sequence


def test_the_longest_common_prefix_is_found_but_never_the_whole_prompt() -> None:
    store = PrefixStore(64, 4)
    fill(store, BASE, (1, 2, 3, 4))
    best = fill(store, BASE, (1, 2, 9, 9, 9))
    assert store.match(BASE, tokens(1, 2, 9, 9, 8)) == store.match(BASE, tokens(1, 2, 9, 9, 7, 7))
    match = store.match(BASE, tokens(1, 2, 9, 9, 9))
    assert (match.source, match.num_ready) == (best, 4)
    assert store.match(BASE, tokens(5, 6)) == NO_MATCH


@pytest.mark.parametrize(
    ("cached", "asked", "num_shared"),
    [
        (PrefixKey(voice="A", boundary=3), PrefixKey(voice="A", boundary=3), 5),
        (PrefixKey(voice="A", boundary=3), PrefixKey(voice="B", boundary=3), 3),
        (PrefixKey(voice="A", boundary=3), PrefixKey(voice="A", boundary=2), 2),
        (PrefixKey(voice="A", boundary=3), BASE, 3),
        (BASE, PrefixKey(voice="A", boundary=4), 4),
        (BASE, PrefixKey(voice="A", boundary=0), 0),
        (private("alice"), private("bob"), 0),
        (private("alice"), BASE, 0),
        (private("alice"), private("alice"), 5),
        (private("alice", start=2), private("bob", start=2), 2),
        (private("alice", start=2), private("alice", start=4), 2),
        (private("alice", start=4), BASE, 4),
        (private("hr", "alice"), private("hr", "bob"), 3),
        (private("hr", "alice"), private("", "alice"), 0),
        (private("", "alice"), private("alice", start=3), 5),
    ],
)
def test_only_cells_of_equal_voice_and_scope_are_shared(cached: PrefixKey, asked: PrefixKey, num_shared: int) -> None:
    store = PrefixStore(64, 4)
    fill(store, cached, (1, 2, 3, 4, 5, 6))
    assert store.match(asked, tokens(1, 2, 3, 4, 5, 7)).num_ready == num_shared


def test_shared_cells_count_once_and_outlive_their_first_owner() -> None:
    store = PrefixStore(64, 4)
    first = fill(store, BASE, (1, 2, 3, 4))
    second = fill(store, BASE, (1, 2, 3, 9))
    assert store.num_cells_used == 5
    assert store.release(first, keep=False) == [first]
    assert store.num_cells_used == 4
    assert store.sequences == {second: 4}
    store.check()


def test_a_prompt_that_is_just_being_computed_is_announced() -> None:
    store = PrefixStore(64, 4)
    prompt = tokens(1, 2, 3, 4, 5, 6)
    leader = store.admit(BASE, prompt, 10, NO_MATCH).sequence
    store.extend(leader, (1, 2))
    match = store.match(BASE, tokens(1, 2, 3, 4, 9))
    assert (match.source, match.num_ready, match.num_coming) == (leader, 2, 4)


def test_admission_reserves_what_the_answer_may_need() -> None:
    store = PrefixStore(10, 4)
    store.admit(BASE, tokens(1, 2), 7, NO_MATCH)
    assert store.can_admit(NO_MATCH, 3)
    assert not store.can_admit(NO_MATCH, 4)


def test_idle_sequences_give_way_least_recently_used_first() -> None:
    store = PrefixStore(10, 4)
    old = fill(store, BASE, (1, 1, 1))
    new = fill(store, BASE, (2, 2, 2))
    for sequence in (new, old):
        store.release(sequence, keep=True)
    assert store.can_admit(NO_MATCH, 10)
    assert store.make_room(5) == [new]
    assert store.make_room(8) == [old]


def test_the_last_idle_sequence_is_taken_over_where_no_id_is_left() -> None:
    store = PrefixStore(20, 1)
    store.release(fill(store, BASE, (1, 2, 3, 4)), keep=True)
    prompt = tokens(1, 2, 9)
    placement = store.admit(BASE, prompt, 6, store.match(BASE, prompt))
    assert (placement.sequence, placement.source, placement.num_shared, placement.forget) == (0, 0, 2, ())
    assert store.num_cells_used == 2
    store.check()


def test_a_sequence_that_another_one_covers_is_not_kept() -> None:
    store = PrefixStore(20, 4)
    short, long = fill(store, BASE, (1, 2, 3)), fill(store, BASE, (1, 2, 3, 4))
    assert store.release(long, keep=True) == []
    assert store.release(short, keep=True) == [short]


def test_forgotten_prompts_are_neither_offered_nor_kept() -> None:
    store = PrefixStore(20, 4)
    hers = private("alice")
    idle, live = fill(store, hers, (1, 2, 3)), fill(store, hers, (4, 5, 6))
    store.release(idle, keep=True)
    assert store.forget(frozenset({"any"})) == [idle]
    assert store.match(hers, tokens(4, 5, 6, 7)) == NO_MATCH
    assert store.release(live, keep=True) == [live]


def test_models_whose_state_cannot_be_cut_share_nothing() -> None:
    store = PrefixStore(20, 4, can_share=False)
    number = fill(store, BASE, (1, 2, 3))
    assert store.match(BASE, tokens(1, 2, 3, 4)) == NO_MATCH
    assert store.release(number, keep=True) == [number]


def test_growing_beyond_the_reservation_is_our_own_bug() -> None:
    store = PrefixStore(20, 4)
    number = fill(store, BASE, (1, 2, 3))
    with pytest.raises(EngineError, match="beyond its reservation"):
        store.extend(number, (4,))


def scope_of(key: PrefixKey, position: int) -> str:
    name = ""
    for scope in key.scopes:
        name = scope.name if scope.start <= position else name
    return name


class StoreMachine(RuleBasedStateMachine):
    """A model that remembers, for each cell of each sequence, how it was really computed."""

    def __init__(self) -> None:
        super().__init__()
        self.store = PrefixStore(40, 5)
        self.truth: dict[int, list[tuple[int, str, str]]] = {}
        self.live: dict[int, tuple[PrefixKey, tuple[int, ...], int]] = {}

    @rule(
        scopes=st.sampled_from([(), (Scope(0, "alice"),), (Scope(2, "alice"),), (Scope(1, "hr"), Scope(3, "bob"))]),
        voice=st.sampled_from(["", "A", "B"]),
        boundary=st.integers(0, 6),
        prompt=st.lists(st.integers(1, 2), min_size=1, max_size=10).map(tuple),
        room=st.integers(1, 8),
    )
    def admit(self, scopes: tuple[Scope, ...], voice: str, boundary: int, prompt: tuple[int, ...], room: int) -> None:
        key = PrefixKey(scopes, voice, boundary) if voice else PrefixKey(scopes)
        match = self.store.match(key, tokens(*prompt))
        if not self.store.can_admit(match, len(prompt) + room):
            return
        placement = self.store.admit(key, tokens(*prompt), len(prompt) + room, match)
        self.forget(placement.forget)
        shared = [] if placement.source is None else self.truth[placement.source][: placement.num_shared]
        assert shared == self.computed(key, prompt)[: len(shared)]
        assert len(shared) < len(prompt)
        self.truth[placement.sequence] = list(shared)
        self.live[placement.sequence] = (key, prompt, len(prompt) + room)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), size=st.integers(1, 4))
    def grow(self, data: st.DataObject, size: int) -> None:
        number = data.draw(st.sampled_from(sorted(self.live)))
        key, prompt, limit = self.live[number]
        done = len(self.truth[number])
        new = (prompt + (1,) * limit)[done : min(done + size, limit)]
        if not new:
            return
        self.forget(self.store.make_room(len(new)))
        self.store.extend(number, new)
        self.truth[number] += self.computed(key, prompt[:done] + (0,) * (done - len(prompt[:done])) + new)[done:]

    @precondition(lambda self: self.live)
    @rule(data=st.data(), keep=st.booleans())
    def release(self, data: st.DataObject, keep: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.live)))
        del self.live[number]
        self.forget(self.store.release(number, keep=keep))

    @rule(documents=st.sampled_from([None, frozenset({"leave"})]))
    def drop(self, documents: frozenset[str] | None) -> None:
        self.forget(self.store.forget(documents))

    @invariant()
    def adds_up(self) -> None:
        self.store.check()
        assert self.store.sequences == {number: len(cells) for number, cells in self.truth.items()}
        assert self.store.num_cells_used <= 40

    def forget(self, numbers: list[int] | tuple[int, ...]) -> None:
        for number in numbers:
            assert number not in self.live
            del self.truth[number]

    @staticmethod
    def computed(key: PrefixKey, values: tuple[int, ...]) -> list[tuple[int, str, str]]:
        return [
            (value, key.voice if position >= key.boundary else "", scope_of(key, position))
            for position, value in enumerate(values)
        ]


StoreMachine.TestCase.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
TestStore = StoreMachine.TestCase
