"""The loss of a pack of rows: their suffixes run over the kept prefixes, counted on the answer tokens only."""

from collections.abc import Iterable, Iterator, Sequence

import torch

from adapters.training.base import TrainingBase
from adapters.training.dataset import TrainingRow
from adapters.training.packed import PackedRow, packed_attention
from adapters.training.prefixes import PrefixStore

MAX_PACKED_TOKENS = 512
"""Enough to keep the cores busy; more would only cost memory for activations."""


def packs(rows: Iterable[TrainingRow]) -> Iterator[list[TrainingRow]]:
    """Neighbouring rows whose suffixes together stay within MAX_PACKED_TOKENS; a longer row gets a pack of its own."""
    pack: list[TrainingRow] = []
    for row in rows:
        if pack and sum(len(packed.suffix) for packed in pack) + len(row.suffix) > MAX_PACKED_TOKENS:
            yield pack
            pack = []
        pack.append(row)
    if pack:
        yield pack


def answer_loss(
    base: TrainingBase, prefixes: PrefixStore, pack: Sequence[TrainingRow], decision_weight: float = 1.0
) -> torch.Tensor:
    """Cross entropy summed over the answer tokens, in nats, with gradient for whatever adapter is in the model.

    The tokens at a row's decisions count `decision_weight` times each.
    """
    logits, targets = answer_logits(base, prefixes, pack)
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return losses @ _weights(pack, decision_weight).to(losses)


def answer_logits(
    base: TrainingBase, prefixes: PrefixStore, pack: Sequence[TrainingRow]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of shape (answer tokens of all rows, vocabulary), and the answer tokens that they should predict."""
    placed = list(_placed(prefixes, pack))
    ids = torch.tensor([[token for row in pack for token in row.suffix]], device=base.device)
    answers = torch.cat(
        [torch.arange(at.stop - row.num_answer_tokens, at.stop) for row, at in zip(pack, placed, strict=True)]
    ).to(base.device)
    with packed_attention(base.model), torch.autocast(base.device.type, torch.bfloat16, base.dtype is torch.bfloat16):
        output = base.model(
            input_ids=ids,
            position_ids=_positions(pack).to(base.device),
            use_cache=False,
            logits_to_keep=answers - 1,  # a token is predicted where its predecessor stands
            packed_rows=placed,
        )
    return output.logits[0].float(), ids[0, answers]


def mean_loss(base: TrainingBase, prefixes: PrefixStore, rows: Sequence[TrainingRow]) -> float | None:
    """Mean over the answer tokens of all rows, in nats, without gradient and dropout; None for no rows."""
    if not rows:
        return None
    was_training = base.model.training
    base.model.eval()
    with torch.no_grad():
        total = sum(answer_loss(base, prefixes, pack).item() for pack in packs(rows))
    base.model.train(was_training)
    return total / sum(row.num_answer_tokens for row in rows)


def _placed(prefixes: PrefixStore, pack: Sequence[TrainingRow]) -> Iterator[PackedRow]:
    start = 0
    for row in pack:
        yield PackedRow(start, start + len(row.suffix), prefixes.layers(row.prefix, row.layout))
        start += len(row.suffix)


def _weights(pack: Sequence[TrainingRow], decision_weight: float) -> torch.Tensor:
    """Shape (answer tokens of all rows,)."""
    weights = [torch.ones(row.num_answer_tokens) for row in pack]
    for row, of_row in zip(pack, weights, strict=True):
        of_row[list(row.decisions)] = decision_weight
    return torch.cat(weights)


def _positions(pack: Sequence[TrainingRow]) -> torch.Tensor:
    """Shape (1, tokens): each suffix goes on where its prefix ends, behind the longest block where it has blocks."""
    starts = [row.layout.num_positions(len(row.prefix)) for row in pack]
    return torch.cat([torch.arange(start, start + len(row.suffix)) for start, row in zip(starts, pack, strict=True)])[
        None
    ]
