"""The loss of one row: the suffix run over the kept prefix, counted on the answer tokens only."""

from collections.abc import Sequence
from typing import Any

import torch

from adapters.training.base import TrainingBase
from adapters.training.dataset import TrainingRow
from adapters.training.prefixes import PrefixStore


def answer_loss(base: TrainingBase, prefixes: PrefixStore, row: TrainingRow) -> torch.Tensor:
    """Cross entropy summed over the answer tokens, in nats, with gradient for whatever adapter is in the model.

    Rows run one at a time: a suffix of a hundred tokens fills the cores already, and nothing is spent on padding.
    """
    start, num_suffix = len(row.prefix), len(row.suffix)
    ids = torch.tensor([row.suffix], device=base.device)
    positions = torch.arange(start, start + num_suffix, device=base.device)[None]
    with torch.autocast(base.device.type, torch.bfloat16, enabled=base.dtype is torch.bfloat16):
        # The last logits predict what would follow the end of turn, so one more is kept and then left out.
        output = base.model(
            input_ids=ids,
            position_ids=positions,
            past_key_values=prefixes.cache(row.prefix),
            use_cache=True,
            logits_to_keep=row.num_answer_tokens + 1,
        )
    logits: torch.Tensor = output.logits[0, :-1].float()
    return torch.nn.functional.cross_entropy(logits, ids[0, -row.num_answer_tokens :], reduction="sum")


def mean_loss(base: TrainingBase, prefixes: PrefixStore, rows: Sequence[TrainingRow]) -> float | None:
    """Mean over the answer tokens of all rows, in nats, without gradient and dropout; None for no rows."""
    if not rows:
        return None
    was_training = _set_training(base.model, is_training=False)
    with torch.no_grad():
        total = sum(answer_loss(base, prefixes, row).item() for row in rows)
    _set_training(base.model, is_training=was_training)
    return total / sum(row.num_answer_tokens for row in rows)


def _set_training(model: Any, *, is_training: bool) -> bool:
    was_training: bool = model.training
    model.train(is_training)
    return was_training
