"""Where the tokens of a prompt stand: one after the other, or with its fact blocks side by side. Pure.

The same arithmetic for serving and for training, so that an adapter is trained on what it will read.

    tokens      [prefix][block 1  ][block 2    ][question ...
    position     0 .. 8  9 ...... 17                          every block begins at 9, right behind the prefix
                         9 ........ 19
                                                 20 ......    the question goes on behind the longest block

No block sees another one, so its cells depend on the prefix and on itself alone: they serve in any order, beside any
other block, to any question. Equal positions in one sequence are what llama.cpp allows and TurboRAG, Block-Attention
and APE use (arXiv 2410.07590, 2409.15355, 2502.05431).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

FactLayout = Literal["exact", "blocks"]
"""How the sources of a prompt are read: in one piece with everything before them, or each alone."""
FACT_LAYOUTS: tuple[FactLayout, ...] = get_args(FactLayout)
"""The slowest first."""
NO_BOUNDARY = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Layout:
    """bounds: the index at which each block begins, then the one at which the last ends. Empty: a plain sequence."""

    bounds: tuple[int, ...] = ()

    @property
    def start(self) -> int:
        """Length of the prefix that all blocks stand behind; NO_BOUNDARY where there are none."""
        return self.bounds[0] if self.bounds else NO_BOUNDARY

    @property
    def end(self) -> int:
        return self.bounds[-1] if self.bounds else NO_BOUNDARY

    @property
    def blocks(self) -> tuple[slice, ...]:
        """The tokens of each block, in order."""
        return tuple(slice(begin, end) for begin, end in pairwise(self.bounds))

    def block_at(self, index: int) -> slice:
        """The tokens of the block that begins at `index`."""
        return next(block for block in self.blocks if block.start == index)

    def num_positions(self, num_tokens: int) -> int:
        """How many positions the first `num_tokens` tokens take, which is where the next one behind them stands."""
        if num_tokens <= self.start:
            return num_tokens
        longest = max(min(num_tokens, end) - begin for begin, end in pairwise(self.bounds) if begin < num_tokens)
        return self.start + longest + max(0, num_tokens - self.end)

    def usable(self, num_tokens: int) -> int:
        """Of so many equal tokens, how many can be shared: all blocks, or none of them."""
        return self.start if self.start < num_tokens < self.end else num_tokens

    def alike(self, other: "Layout") -> int:
        """Up to which index equal tokens stand at equal positions and see the same."""
        return NO_BOUNDARY if self == other else min(self.start, other.start)


PLAIN = Layout()


def layout_named(name: object) -> FactLayout:
    """As an adapter's card tells it; "exact" where it tells nothing that is a layout."""
    return next((layout for layout in FACT_LAYOUTS if layout == name), "exact")


def slower_of(one: FactLayout, other: FactLayout) -> FactLayout:
    return min(one, other, key=FACT_LAYOUTS.index)
