"""Guesses of an answer's next tokens: what followed the last time that prompt or answer ran like this. Pure.

    prompt   ... the desk is open from Monday to Friday . Parcels above ...
    answer   It is open from                ->  guess: Monday to Friday . Parcels

This is prompt lookup decoding (Saxena 2023). A guess costs a row in a decode and is checked by choosing the token there
as always: an answer with drafts is the answer without them. Every chosen token is compared with what was guessed for
it, whether the guess was computed or not, so each request learns for nothing how often its guesses are right; long
matches are right more often than short ones and are counted apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

SHORTEST_MATCH = 2
LONGEST_MATCH = 16
MAX_DRAFTS = 15
MAX_PLACES = 32
"""Of a frequent pair of tokens, the latest places that are looked at."""
CLASSES = (2, 3, 4, 6, 9)
"""Matches from these lengths on are counted together."""
PRIOR = (0.25, 0.4, 0.6, 0.75, 0.85)
"""How often a guess is taken to be right before there is evidence, by class; as much worth as PRIOR_TRIALS trials."""
PRIOR_TRIALS = 4.0
DECAY = 0.95
"""What an older trial is worth, for each later one: an answer quotes here and tells in its own words there."""


@dataclass(slots=True)
class Acceptance:
    """How often guesses were right, by length of match."""

    hits: list[float] = field(default_factory=lambda: [PRIOR_TRIALS * share for share in PRIOR])
    trials: list[float] = field(default_factory=lambda: [PRIOR_TRIALS] * len(PRIOR))

    def note(self, match_length: int, *, is_right: bool) -> None:
        kind = _class_of(match_length)
        self.hits[kind] = DECAY * self.hits[kind] + is_right
        self.trials[kind] = DECAY * self.trials[kind] + 1

    def chance(self, match_length: int) -> float:
        kind = _class_of(match_length)
        return self.hits[kind] / self.trials[kind]


@dataclass(frozen=True, slots=True)
class Guess:
    """tokens: what may follow. match_length: of how many tokens the place agrees with the end."""

    tokens: tuple[int, ...]
    match_length: int


NO_GUESS = Guess((), 0)


class Drafter:
    """Of one request: its tokens so far, and what may follow."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._tokens: list[int] = []
        self._places: dict[tuple[int, int], list[int]] = {}
        self._acceptance = Acceptance()
        self._guess: Guess | None = None
        for token in prompt:
            self._append(token)

    @property
    def guess(self) -> Guess:
        if self._guess is None:
            self._guess = self._look_up()
        return self._guess

    def push(self, token: int) -> None:
        """The answer goes on with this one."""
        if self.guess.tokens:
            self._acceptance.note(self.guess.match_length, is_right=self.guess.tokens[0] == token)
        self._append(token)
        self._guess = None

    def gains(self, num_tokens: int) -> tuple[float, ...]:
        """The chance of each of the first `num_tokens` guessed tokens to become part of the answer: that it is right,
        and all before it."""
        gains, gain = [], 1.0
        for place in range(min(num_tokens, len(self.guess.tokens))):
            gain *= self._acceptance.chance(self.guess.match_length + place)
            gains.append(gain)
        return tuple(gains)

    def _append(self, token: int) -> None:
        """The pair before the token is found from now on, the pair that ends with it once it has a successor."""
        if len(self._tokens) >= SHORTEST_MATCH:
            self._places.setdefault((self._tokens[-2], self._tokens[-1]), []).append(len(self._tokens))
        self._tokens.append(token)

    def _look_up(self) -> Guess:
        """The longest match; of equal ones the latest."""
        tokens = self._tokens
        places = self._places.get((tokens[-2], tokens[-1]), []) if len(tokens) >= SHORTEST_MATCH else []
        if not places:
            return NO_GUESS
        length, place = max((self._match_length(place), place) for place in places[-MAX_PLACES:])
        return Guess(tuple(tokens[place : place + MAX_DRAFTS]), length)

    def _match_length(self, place: int) -> int:
        """How many tokens before `place` are those at the end."""
        length, tokens = SHORTEST_MATCH, self._tokens
        while length < min(LONGEST_MATCH, place) and tokens[place - length - 1] == tokens[-length - 1]:
            length += 1
        return length


def _class_of(match_length: int) -> int:
    return max(kind for kind, start in enumerate(CLASSES) if match_length >= start)
