"""Facts prefilled once by the frozen base, and kept over epochs, rows and brands.

Tokens before the voice boundary carry no adapter, so their keys and values never change while training. They are kept
in half precision, as the served engine keeps them. With fact blocks a prefix is put together as the engine does it:
the shared beginning, each block computed behind that alone, and what follows them; a block that stands in several rows
is computed once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from adapters.training.adapter import adapter_off
from adapters.training.base import TrainingBase
from config.fact_layout import PLAIN, Layout

STORED = torch.float16


@dataclass(frozen=True, slots=True)
class Layer:
    """Keys and values of one layer, each of shape (1, KV heads, tokens, head size), keys after rotation."""

    keys: torch.Tensor
    values: torch.Tensor

    @property
    def num_bytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes


Layers = tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """Tokens that are computed in one go, and all that decides their keys and values: what they see, and where it
    stands."""

    tokens: tuple[int, ...]
    before: tuple[int, ...] = ()
    layout: Layout = PLAIN

    @property
    def start(self) -> int:
        """The position of the first of them."""
        return self.layout.num_positions(len(self.before))


class PrefixStore:
    """Prefilled prefixes, in parts by their tokens, first come first kept, within a budget of bytes."""

    def __init__(self, base: TrainingBase, budget_bytes: int) -> None:
        self._base = base
        self._budget_bytes = budget_bytes
        self._kept: dict[_Part, Layers] = {}
        self._num_bytes = 0

    def growth_bytes(self, num_tokens: int) -> int:
        """How much memory prefixes of `num_tokens` more tokens will take, judged by those that are kept."""
        num_kept_tokens = sum(len(part.tokens) for part in self._kept)
        expected = num_tokens * self._num_bytes // max(1, num_kept_tokens)
        return min(expected, self._budget_bytes - self._num_bytes)

    def is_kept(self, tokens: tuple[int, ...], layout: Layout = PLAIN) -> bool:
        return all(part in self._kept for part in _parts(tokens, layout))

    def num_missing(self, prefixes: Sequence[tuple[tuple[int, ...], Layout]]) -> int:
        """Of these prefixes, how many tokens are still to be computed."""
        parts = {part for tokens, layout in prefixes for part in _parts(tokens, layout)}
        return sum(len(part.tokens) for part in parts if part not in self._kept)

    def layers(self, tokens: tuple[int, ...], layout: Layout = PLAIN) -> Layers:
        """Keys and values of `tokens` for each layer, computed where they are not kept; of no tokens, empty ones."""
        if not tokens:
            return self._empty()
        done: list[Layers] = []
        for part in _parts(tokens, layout):
            seen = done if part.layout.bounds else done[:1]
            done.append(self._part(part, seen))
        return _joined(done)

    def _part(self, part: _Part, seen: Sequence[Layers]) -> Layers:
        if part in self._kept:
            return self._kept[part]
        layers = self._compute(part, seen)
        num_bytes = sum(layer.num_bytes for layer in layers)
        if self._num_bytes + num_bytes <= self._budget_bytes:
            self._kept[part] = layers
            self._num_bytes += num_bytes
        return layers

    def _compute(self, part: _Part, seen: Sequence[Layers] = ()) -> Layers:
        """Without gradient, and by the decoder alone: nobody asks for logits of a prefix."""
        model = self._base.model
        was_training = model.training
        model.eval()
        with torch.no_grad(), adapter_off(model):
            ids = torch.tensor([part.tokens], device=self._base.device)
            positions = torch.arange(part.start, part.start + len(part.tokens), device=self._base.device)[None]
            cache = self._cache(seen)
            output = model.get_decoder()(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True)
        model.train(was_training)
        return tuple(_stored(output.past_key_values.layers, len(part.before)))

    def _cache(self, seen: Sequence[Layers]) -> DynamicCache:
        cache = DynamicCache()
        for place, layer in enumerate(_joined(seen)):
            cache.update(layer.keys.to(self._base.dtype), layer.values.to(self._base.dtype), place)
        return cache

    def _empty(self) -> Layers:
        """Of the shapes that the model has, without any token."""
        return tuple(Layer(layer.keys[:, :, :0], layer.values[:, :, :0]) for layer in self._compute(_Part((0,))))


def _parts(tokens: tuple[int, ...], layout: Layout) -> list[_Part]:
    """In the order in which they are computed: the beginning sees nothing, a block the beginning, the rest all."""
    if not layout.bounds:
        return [_Part(tokens)] if tokens else []
    beginning, rest = tokens[: layout.start], tokens[layout.end :]
    blocks = [_Part(tokens[block], beginning) for block in layout.blocks]
    return [_Part(beginning), *blocks, *([_Part(rest, tokens[: layout.end], layout)] if rest else [])]


def _joined(parts: Sequence[Layers]) -> Layers:
    """One behind the other."""
    if len(parts) < 2:
        return parts[0] if parts else ()
    return tuple(
        Layer(torch.cat([layer.keys for layer in same], 2), torch.cat([layer.values for layer in same], 2))
        for same in zip(*parts, strict=True)
    )


def _stored(layers: Iterable[Any], num_before: int) -> Iterable[Layer]:
    return (
        Layer(
            layer.keys[:, :, num_before:].to(STORED, copy=True), layer.values[:, :, num_before:].to(STORED, copy=True)
        )
        for layer in layers
    )
