"""Each sampling setting on rows of logits that are short enough to compute by hand."""

from collections import Counter

import numpy as np
import pytest

from server.engine.backend import Logits
from server.engine.messages import Sampling
from server.engine.repeats import ALLOWED_LENGTH, GROWTH, Repeats
from server.engine.sampling import Sampler, describe_choice


def row(*values: float) -> Logits:
    return np.array(values, np.float32)


def draw(sampling: Sampling, logits: Logits, times: int = 400) -> Counter[int]:
    sampler = Sampler(sampling, ())
    return Counter(sampler.choose(logits) for _ in range(times))


def seeded(**settings: float) -> Sampling:
    return Sampling(temperature=1.0, seed=7, **settings)  # type: ignore[arg-type]


def test_temperature_0_takes_the_best() -> None:
    assert draw(Sampling(), row(0, 3, 2)) == Counter({1: 400})


def test_equal_seeds_draw_equal_tokens_and_others_do_not() -> None:
    def tokens(seed: int | None) -> list[int]:
        sampler = Sampler(Sampling(temperature=1.0, seed=seed), ())
        return [sampler.choose(np.zeros(50, np.float32)) for _ in range(20)]

    assert tokens(3) == tokens(3)
    assert tokens(-3) == tokens(-3)
    assert tokens(3) != tokens(4)
    assert tokens(None) != tokens(None)


def test_draws_follow_the_probabilities() -> None:
    counts = draw(seeded(), np.log(row(0.7, 0.2, 0.1)), 4_000)
    assert counts[0] / 4_000 == pytest.approx(0.7, abs=0.03)
    assert counts[2] / 4_000 == pytest.approx(0.1, abs=0.03)


def test_temperature_sharpens() -> None:
    cold = draw(Sampling(temperature=0.25, seed=7), np.log(row(0.6, 0.4)))
    assert cold[0] / 400 == pytest.approx(0.6**4 / (0.6**4 + 0.4**4), abs=0.06)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_k": 2}, {0, 1}),
        ({"top_p": 0.5}, {0}),
        ({"top_p": 0.75}, {0, 1}),
        ({"min_p": 0.35}, {0, 1}),
        ({"top_k": 3, "min_p": 0.2}, {0, 1, 2}),
        ({"top_k": 1, "top_p": 0.9}, {0}),
    ],
)
def test_unlikely_tokens_are_cut(settings: dict[str, float], kept: set[int]) -> None:
    assert set(draw(seeded(**settings), np.log(row(0.5, 0.25, 0.15, 0.1)))) == kept


def test_logit_bias_forces_and_forbids() -> None:
    assert Sampler(Sampling(logit_bias=((2, 100.0),)), ()).choose(row(5, 4, 0)) == 2
    assert Sampler(Sampling(logit_bias=((0, -100.0),)), ()).choose(row(5, 4, 0)) == 1


def test_the_logits_are_left_as_they_are() -> None:
    logits = row(5, 4, 0)
    Sampler(Sampling(logit_bias=((0, -100.0),), presence_penalty=1), ()).choose(logits)
    assert logits.tolist() == [5, 4, 0]


def test_presence_and_frequency_look_at_the_answer_only() -> None:
    presence = Sampler(Sampling(presence_penalty=1.5), (0, 0))
    assert [presence.choose(row(5, 4, 0)) for _ in range(3)] == [0, 1, 0]
    frequency = Sampler(Sampling(frequency_penalty=0.6), (0, 0))
    assert [frequency.choose(row(5, 4, 0)) for _ in range(5)] == [0, 0, 1, 0, 1]


def test_repetition_penalty_looks_at_prompt_and_answer() -> None:
    assert Sampler(Sampling(repetition_penalty=2.0), (0,)).choose(row(5, 4, -1)) == 1
    assert Sampler(Sampling(repetition_penalty=2.0), (0,)).choose(row(-1, -1.5, -9)) == 1


def test_repetition_penalty_forgets_what_is_64_tokens_back() -> None:
    assert Sampler(Sampling(repetition_penalty=2.0), (0, *[2] * 64)).choose(row(5, 4, 0)) == 0


def test_a_mask_forbids_whatever_the_logits_say() -> None:
    mask = np.array([False, False, True])
    assert Sampler(Sampling(), ()).choose(row(5, 4, 0), mask) == 2
    assert Sampler(seeded(), ()).choose(row(5, 4, 0), mask) == 2


def test_logprobs_are_a_distribution_over_the_raw_logits() -> None:
    logits = np.log(row(0.5, 0.3, 0.15, 0.05))
    choice = describe_choice(logits, 3, 2, lambda token: bytes([65 + token]))
    assert (choice.chosen.token, choice.chosen.piece) == (3, b"D")
    assert np.exp(choice.chosen.logprob) == pytest.approx(0.05, rel=1e-5)
    assert [alternative.token for alternative in choice.alternatives] == [0, 1]
    everything = describe_choice(logits, 3, 4, lambda _: b"").alternatives
    assert sum(np.exp(alternative.logprob) for alternative in everything) == pytest.approx(1)


def test_no_alternatives_where_none_were_asked() -> None:
    assert describe_choice(row(1, 2), 0, 0, lambda _: b"").alternatives == ()


def test_a_leaning_favours_its_answer_while_that_is_being_said() -> None:
    sampler = Sampler(Sampling(leaning=(1, 2), leaning_bias=1.5), ())
    assert [sampler.choose(row(2, 1, 0)), sampler.choose(row(1, 0, 0)), sampler.choose(row(2, 1, 1))] == [1, 2, 0]


def test_a_leaning_ends_where_the_answer_leaves_it() -> None:
    sampler = Sampler(Sampling(leaning=(1, 2), leaning_bias=1.5), ())
    assert [sampler.choose(row(3, 1, 0)), sampler.choose(row(1, 0, 0)), sampler.choose(row(1, 0, 0))] == [0, 0, 0]


def test_what_is_settled_follows_word_for_word() -> None:
    sampling = Sampling(leaning=(1, 2, 3), leaning_settled=1)
    for first, rest in ((1, [2, 3, 0]), (0, [0, 0, 0])):
        sampler = Sampler(sampling, ())
        assert sampler.choose(np.eye(4, dtype=np.float32)[first]) == first
        assert [sampler.choose(row(9, 0, 0, 0)) for _ in range(3)] == rest


def test_a_leaning_leaves_the_given_logits_alone() -> None:
    logits = row(2, 1, 0)
    Sampler(Sampling(leaning=(1,), leaning_bias=5), ()).choose(logits)
    assert logits.tolist() == [2, 1, 0]


def test_an_answer_that_runs_in_a_circle_is_led_out_of_it() -> None:
    def answer(multiplier: float) -> list[int]:
        sampler = Sampler(Sampling(dry_multiplier=multiplier), ())
        tokens: list[int] = []
        for _ in range(60):
            logits = np.zeros(12, np.float32)
            logits[len(tokens) % 8] = 9.0
            tokens.append(sampler.choose(logits))
        return tokens

    assert answer(0.0) == [position % 8 for position in range(60)]
    led_out = answer(0.8)
    first = next(index for index, token in enumerate(led_out) if token != index % 8)
    assert first == 8 + ALLOWED_LENGTH + 5  # 0.8 * 1.75 ** 5 > 9, and one repetition less is not enough


def test_short_repetitions_cost_nothing() -> None:
    repeats = Repeats(0.8)
    for token in [*range(ALLOWED_LENGTH - 1), 90, *range(ALLOWED_LENGTH - 1)]:
        repeats.push(token)
    assert len(repeats.penalties()[0]) == 0


def test_the_longest_repetition_counts_and_room_grows() -> None:
    repeats = Repeats(1.0)
    for token in [*range(400), *range(8)]:
        repeats.push(token)
    tokens, penalties = repeats.penalties()
    assert tokens.tolist() == [8]
    assert penalties == pytest.approx([GROWTH ** (8 - ALLOWED_LENGTH)])
