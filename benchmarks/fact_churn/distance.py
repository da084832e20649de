"""How far two answers to one prompt are apart. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """One token of an answer, with its log-probability."""

    piece: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class Said:
    """An answer; alternatives: for each token the likeliest ones, where they were asked for."""

    words: tuple[Word, ...]
    alternatives: tuple[tuple[Word, ...], ...] = ()


def distance(ours: Said, reference: Said) -> float:
    """In nats: the largest difference of a common token, or by how much the reference preferred its own where they
    part. At least that where ours is not even among its likeliest.

    >>> distance(Said((Word(b"a", -1.0),)), Said((Word(b"a", -1.5),)))
    0.5
    """
    worst = 0.0
    for place, (mine, other) in enumerate(zip(ours.words, reference.words, strict=True)):
        if mine.piece != other.piece:
            held = {word.piece: word.logprob for word in reference.alternatives[place]}
            return max(worst, other.logprob - held.get(mine.piece, min(held.values())))
        worst = max(worst, abs(mine.logprob - other.logprob))
    return worst
