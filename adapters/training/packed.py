"""Attention for several rows in one pass, each over its own prefilled prefix.

Short suffixes leave a CPU's matrix units idle, so the suffixes of a batch run through all linear layers as one long
row, and only attention keeps them apart. No token is padding. The prefix's keys and values need no gradient, so the
backward pass does two products for them where a fused kernel does five.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from adapters.training.prefixes import Layer

NAME = "housevoice_packed"


@dataclass(frozen=True, slots=True)
class PackedRow:
    """Where one row's suffix stands in the pack, and the layers of its prefix."""

    start: int
    stop: int
    layers: tuple[Layer, ...]


@contextmanager
def packed_attention(model: Any) -> Iterator[None]:
    """Inside the block `model(..., packed_rows=rows)` runs the rows of one pack; batch size 1, no cache."""
    usual = model.config._attn_implementation
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, _no_mask)
    model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = usual


def attend_row(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    prefix: Layer,
    *,
    scaling: float,
    window: int | None = None,
    softcap: float | None = None,
) -> torch.Tensor:
    """Causal attention of one suffix over its prefix and itself.

    Shapes: query (heads, suffix, size), key and value (KV heads, suffix, size); the result is like query. Each KV head
    serves a run of neighbouring query heads, which are stacked so that its keys are read once.
    """
    num_prefix, group = prefix.keys.shape[-2], query.shape[0] // key.shape[0]
    prefix_keys, prefix_values = prefix.keys[0].to(key.dtype), prefix.values[0].to(value.dtype)
    stacked = (query * scaling).reshape(key.shape[0], -1, query.shape[-1])
    scores = torch.cat([stacked @ prefix_keys.transpose(1, 2), stacked @ key.transpose(1, 2)], dim=-1)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    hidden = ~_visible(key.shape[1], num_prefix, window, key.device).repeat(group, 1)
    weights = scores.masked_fill(hidden, -math.inf).softmax(-1, dtype=torch.float32).to(value.dtype)
    mixed = weights[..., :num_prefix] @ prefix_values + weights[..., num_prefix:] @ value
    return mixed.reshape(query.shape)


def _visible(num_suffix: int, num_prefix: int, window: int | None, device: torch.device) -> torch.Tensor:
    """Shape (suffix, prefix + suffix): a token sees what stands before it, at most `window` tokens with itself."""
    visible = torch.ones(num_suffix, num_prefix + num_suffix, dtype=torch.bool, device=device).tril(num_prefix)
    return visible if window is None else visible.triu(num_prefix - window + 1)


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    packed_rows: Sequence[PackedRow],
    scaling: float,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **unused: object,
) -> tuple[torch.Tensor, None]:
    """The signature that transformers calls: (1, heads, tokens, size) in, (1, tokens, heads, size) out."""
    mixed = [
        attend_row(
            query[0, :, row.start : row.stop],
            key[0, :, row.start : row.stop],
            value[0, :, row.start : row.stop],
            row.layers[module.layer_idx],
            scaling=scaling,
            window=sliding_window,
            softcap=softcap,
        )
        for row in packed_rows
    ]
    return torch.cat(mixed, dim=1).transpose(0, 1)[None].contiguous(), None


def _no_mask(*arguments: object, **options: object) -> None:
    """Each row makes its own."""
