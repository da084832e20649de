"""How readily a trained voice refuses, and the bias that balances it.

Whether to answer is decided where answers part from the refusal. The gap of a question is the largest lead that any
other token has over the refusal's next one, up to the last of these places. Behind them a half-trained voice still
wanders, which is another matter: measured along the whole refusal, good judges looked worse than chance. A larger bias
on these tokens makes the model refuse, a negative one makes it answer; without any it refuses where the gap is not
above 0. The bias is chosen on development rows to maximise the sum of both rates (Youden's index, Cancer 3:32, 1950).
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import torch

from adapters.training.base import TrainingBase
from adapters.training.dataset import TrainingRow, refusal_of
from adapters.training.loss import answer_logits
from adapters.training.prefixes import PrefixStore
from adapters.training.progress import RefusalBalance

LARGEST_BIAS = 8.0
"""In either direction. Beyond it a voice speaks against its own clear judgement; train it instead."""


def measure_refusals(base: TrainingBase, prefixes: PrefixStore, rows: Sequence[TrainingRow]) -> RefusalBalance | None:
    """Of the adapter that is in the model now. None where the rows hold no refusal, or nothing else."""
    refusal = refusal_of(rows)
    if refusal is None or all(row.answer == refusal for row in rows):
        return None
    last = max(place for row in rows if row.answer == refusal for place in (*row.decisions, 0))
    was_training = base.model.training
    base.model.eval()
    with torch.no_grad():
        gaps = [refusal_gap(base, prefixes, row, refusal[: last + 1]) for row in rows]
    base.model.train(was_training)
    unanswerable = [gap for gap, row in zip(gaps, rows, strict=True) if row.answer == refusal]
    return balance(unanswerable, [gap for gap, row in zip(gaps, rows, strict=True) if row.answer != refusal])


def refusal_gap(base: TrainingBase, prefixes: PrefixStore, row: TrainingRow, refusal: tuple[int, ...]) -> float:
    """In logits, along this beginning of the refusal; at most 0 where greedy decoding says it by itself."""
    question = row.suffix[: -row.num_answer_tokens]
    refusing = replace(row, suffix=(*question, *refusal), num_answer_tokens=len(refusal), decisions=())
    logits, targets = answer_logits(base, prefixes, [refusing])
    own = logits.gather(1, targets[:, None])
    others = logits.scatter(1, targets[:, None], float("-inf")).max(dim=1, keepdim=True).values
    return float((others - own).max())


def balance(unanswerable: Sequence[float], answerable: Sequence[float]) -> RefusalBalance:
    """Between two neighbouring gaps, within LARGEST_BIAS; the one nearest to 0 where several are best."""
    gaps = {min(max(gap, -LARGEST_BIAS), LARGEST_BIAS) for gap in (*unanswerable, *answerable)}
    edges = sorted(gaps | {-LARGEST_BIAS, LARGEST_BIAS})
    candidates = [0.0, *((low + high) / 2 for low, high in itertools.pairwise(edges))]
    best = max(candidates, key=lambda bias: (_share(unanswerable, bias) - _share(answerable, bias), -abs(bias)))
    wins = sum((gap < other) + 0.5 * (gap == other) for gap in unanswerable for other in answerable)
    return RefusalBalance(
        bias=round(best, 2),
        refused=_share(unanswerable, best),
        wrongly_refused=_share(answerable, best),
        auroc=wins / (len(unanswerable) * len(answerable)),
        num_unanswerable=len(unanswerable),
        num_answerable=len(answerable),
    )


def _share(gaps: Sequence[float], bias: float) -> float:
    return sum(gap <= bias for gap in gaps) / len(gaps)
