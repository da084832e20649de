"""The seam between the engine's loop and llama.cpp: sequences of KV cells, batches, logits, adapters."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from server.engine.messages import AdapterRef

Logits = NDArray[np.float32]
"""Shape (vocabulary,), unnormalised. A view into memory that the next decode overwrites."""


class Pieces(Protocol):
    """The part of a vocabulary that the loop needs; see `server.engine.vocabulary.Vocabulary`."""

    @property
    def size(self) -> int: ...

    @property
    def end_tokens(self) -> frozenset[int]: ...

    def piece(self, token: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class BackendShape:
    """num_cells: KV cells shared by all sequences; sequence ids are 0..num_sequences-1.

    max_positions: the longest sequence that the model was made for. max_batch_tokens, max_batch_spans and max_logits
    limit one decode. can_share_prefixes: False for recurrent and similar models, whose state cannot be cut at a token.
    """

    num_cells: int
    num_sequences: int
    max_positions: int
    max_batch_tokens: int
    max_batch_spans: int
    max_logits: int
    can_share_prefixes: bool


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens to append to one sequence, at positions start, start + 1, ...

    wants_logits: of the last token. adapter: the sha256 of the one that computes them; None: the base alone.
    num_drafts: so many of the last tokens are guesses, so that logits of each of them and of the token before the first
    are wanted.
    """

    sequence: int
    start: int
    tokens: tuple[int, ...]
    wants_logits: bool
    adapter: str | None = None
    num_drafts: int = 0

    @property
    def num_logits(self) -> int:
        return 1 + self.num_drafts if self.wants_logits else 0


class Backend(Protocol):
    """Not thread-safe: one thread calls it. `llama.LlamaBackend` is the real one, `fake.FakeBackend` the other."""

    @property
    def shape(self) -> BackendShape: ...

    @property
    def num_threads(self) -> int:
        """That compute; 0 where a GPU does."""

    def set_threads(self, count: int) -> None:
        """From the next decode on; at least 1. What is computed stays the same to the bit."""

    def decode(self, spans: list[Span]) -> None:
        """Compute all spans, at most one a sequence, each with its adapter; those of one batch must go together.

        Raises EngineError; sequences in the batch are then in an unknown state and must be truncated to 0.
        """

    def logits(self, span: int, row: int = 0) -> Logits:
        """Of the span with this index in the last decode, which asked for them. row: of its kept rows, in their order;
        without drafts there is one, the last token's."""

    def copy_prefix(self, source: int, target: int, num_tokens: int) -> None:
        """Let the empty sequence `target` share the first cells of `source`. Costs no cells."""

    def truncate(self, sequence: int, num_tokens: int) -> None:
        """Keep the first `num_tokens` (0: forget it all). Cells that no other sequence shares become free."""

    def length(self, sequence: int) -> int:
        """Tokens in the sequence as the library counts them."""

    def load_adapter(self, adapter: AdapterRef) -> None:
        """Make it usable in `decode`. Raises BadRequestError where the file is not that adapter or does not fit."""

    def free_adapter(self, sha256: str) -> None:
        """Its cells stay valid; decoding with it needs another load."""

    def close(self) -> None:
        """Give everything back."""


class MixingBackend(Backend, Protocol):
    """A backend that may compute spans of several adapters in one batch, each as in a batch of its own."""

    @property
    def mix_problem(self) -> str:
        """Why it cannot, or no longer; empty where it can. `decode` then raises for such a batch."""

    @property
    def spare_sequences(self) -> tuple[int, ...]:
        """Ids beyond those of the shape, always empty, for trying things while others run."""


class FactBackend(Backend, Protocol):
    """A backend whose sequences can be taken apart, kept outside the context, and put together again."""

    @property
    def block_problem(self) -> str:
        """Why this model cannot read its facts as blocks; empty where it can."""

    @property
    def state_format(self) -> str:
        """Library and cell types: what `save` gave under another one must not be restored."""

    def share(self, source: int, target: int) -> None:
        """Let `target` hold all cells of `source` as well, at the positions they have. Costs no cells."""

    def forget_prefix(self, sequence: int, num_tokens: int) -> None:
        """Forget all that stands before position `num_tokens`."""

    def save(self, sequence: int) -> bytes:
        """Its cells as bytes. Raises EngineError where the library gives none."""

    def restore(self, sequence: int, saved: bytes, start: int, num_tokens: int) -> None:
        """Into the empty sequence; the cells must be `num_tokens`, from position `start` on.

        Raises EngineError where they are not; the sequence is then in an unknown state and must be truncated to 0.
        """


class EngineBackend(FactBackend, MixingBackend, Protocol):
    """All that the engine's loop asks for. `llama.LlamaBackend` and `fake.FakeBackend` keep to it."""
