"""Facts prefilled once by the frozen base, and kept over epochs, rows and brands.

Tokens before the voice boundary carry no adapter, so their keys and values never change while training. They are kept
in half precision, as the served engine keeps them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from adapters.training.adapter import adapter_off
from adapters.training.base import TrainingBase

STORED = torch.float16


@dataclass(frozen=True, slots=True)
class Layer:
    """Keys and values of one layer, each of shape (1, KV heads, tokens, head size), keys after rotation."""

    keys: torch.Tensor
    values: torch.Tensor

    @property
    def num_bytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes


class PrefixStore:
    """Prefilled prefixes by their tokens, first come first kept, within a budget of bytes."""

    def __init__(self, base: TrainingBase, budget_bytes: int) -> None:
        self._base = base
        self._budget_bytes = budget_bytes
        self._kept: dict[tuple[int, ...], tuple[Layer, ...]] = {}
        self._num_bytes = 0

    def growth_bytes(self, num_tokens: int) -> int:
        """How much memory prefixes of `num_tokens` more tokens will take, judged by those that are kept."""
        num_kept_tokens = sum(len(tokens) for tokens in self._kept)
        expected = num_tokens * self._num_bytes // max(1, num_kept_tokens)
        return min(expected, self._budget_bytes - self._num_bytes)

    def is_kept(self, tokens: tuple[int, ...]) -> bool:
        return tokens in self._kept

    def layers(self, tokens: tuple[int, ...]) -> tuple[Layer, ...]:
        """Keys and values of `tokens` for each layer, computed where they are not kept; of no tokens, empty ones."""
        if tokens in self._kept:
            return self._kept[tokens]
        layers = self._compute(tokens) if tokens else self._empty()
        num_bytes = sum(layer.num_bytes for layer in layers)
        if self._num_bytes + num_bytes <= self._budget_bytes:
            self._kept[tokens] = layers
            self._num_bytes += num_bytes
        return layers

    def _compute(self, tokens: tuple[int, ...]) -> tuple[Layer, ...]:
        """Without gradient, and by the decoder alone: nobody asks for logits of a prefix."""
        model = self._base.model
        was_training = model.training
        model.eval()
        with torch.no_grad(), adapter_off(model):
            ids = torch.tensor([tokens], device=self._base.device)
            output = model.get_decoder()(input_ids=ids, past_key_values=DynamicCache(), use_cache=True)
        model.train(was_training)
        return tuple(_stored(output.past_key_values.layers))

    def _empty(self) -> tuple[Layer, ...]:
        """Of the shapes that the model has, without any token."""
        return tuple(Layer(layer.keys[:, :, :0], layer.values[:, :, :0]) for layer in self._compute((0,)))


def _stored(layers: Iterable[Any]) -> Iterable[Layer]:
    return (Layer(layer.keys.to(STORED), layer.values.to(STORED)) for layer in layers)
