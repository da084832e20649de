"""Several adapters in one batch: each computes the rows of its own tokens, and no others.

llama.cpp applies every adapter that is on to every token of a batch. For each linear layer and adapter its graph holds
the four nodes on the left. The eval callback sees each node before it is computed and rewires them as on the right,
for the rows [start, start + count) of an adapter's tokens, which lie together in the batch:

    a    = mul_mat(lora_a, x)        a[count]     = mul_mat(lora_a, rows of x)
    b    = mul_mat(lora_b, a)        b[count]     = mul_mat(lora_b, a)
    s    = scale(b)                  s[count]     = scale(b)
    sum  = add(product, s)           sum          = acc(product, s, start)      adds to these rows and leaves the rest

So a row of one brand never meets another brand's numbers, no adapter computes more than in a batch of its own, and the
products are computed by the same kernel over the same rows: the results are those of separate batches, to the bit.
No node is computed apart (the callback always answers "no need"), and a graph that llama.cpp uses again stays as it
was rewired: then the callback is switched off.

Behind the last attention, only the tokens that logits were asked for are left: there the rows are counted among those.
"""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from config.errors import EngineError
from server.engine.native import llama
from server.engine.tensors import F32, EvalCallback, Graph, Tensor, open_graph

SOURCE = Tensor.src.offset
LORA_A = b".lora_a"
MAX_OFFSET = 2**31 - 1
NUM_SPARE_SEQUENCES = 3
"""Sequences that a trial needs, while others run."""
MAX_BATCH_TOKENS = 2_048
"""Rows are counted once a batch, so all of it must be computed in one go."""


@dataclass(frozen=True, slots=True)
class Range:
    """Rows of a batch that lie together."""

    start: int = 0
    count: int = 0


NOTHING = Range()


@dataclass(frozen=True, slots=True)
class BatchRows:
    """Which rows are whose: among all tokens of a batch, and among those that logits were asked for."""

    num_tokens: int
    num_outputs: int
    tokens: Mapping[str, Range]
    outputs: Mapping[str, Range]

    @classmethod
    def of(cls, adapters: Sequence[str | None], sizes: Sequence[int], outputs: NDArray[np.int8]) -> "BatchRows":
        """adapters, sizes: of each span, spans of an adapter side by side. outputs: of each token, whether it is one.

        >>> BatchRows.of(["A", None], [2, 1], np.array([0, 1, 1], np.int8)).outputs
        {'A': Range(start=0, count=1)}
        """
        num_before = np.concatenate([[0], np.cumsum(outputs != 0)])
        token_rows: dict[str, Range] = {}
        begin = 0
        for adapter, size in zip(adapters, sizes, strict=True):
            if adapter is not None:
                known = token_rows.get(adapter, Range(begin))
                token_rows[adapter] = Range(known.start, begin + size - known.start)
            begin += size
        output_rows = {
            adapter: Range(
                int(num_before[rows.start]), int(num_before[rows.start + rows.count] - num_before[rows.start])
            )
            for adapter, rows in token_rows.items()
        }
        return cls(len(outputs), int(num_before[-1]), token_rows, output_rows)

    def of_node(self, num_rows: int, adapter: str) -> Range:
        """In a node with so many rows. Raises EngineError where that is neither all tokens nor all outputs."""
        if num_rows not in (self.num_tokens, self.num_outputs):
            raise EngineError(f"a layer has {num_rows} rows for {self.num_tokens} tokens, {self.num_outputs} outputs")
        ranges = self.tokens if num_rows == self.num_tokens else self.outputs
        return ranges.get(adapter, NOTHING)


@dataclass(slots=True)
class _Chain:
    """The nodes that one adapter adds to one linear layer, as far as they were met. `view`: its rows of the input."""

    adapter: str
    input: Tensor
    num_rows: int
    view: Tensor
    nodes: list[Tensor] = field(default_factory=list)
    total: Tensor | None = None

    @property
    def is_complete(self) -> bool:
        return self.total is not None


class AdapterRows:
    """Rewires the graphs of one context. Before each decode `expect_alone` or `expect_mixed`, after it `finish`.

    problem: why it cannot go on; what was computed then is wrong, and nothing may be mixed any more.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.callback = EvalCallback(self._ask)
        self.problem = ""
        self._owners: dict[int, str] = {}
        self._hosts: dict[int, bool] = {}
        self._chains: list[_Chain] = []
        self._open: _Chain | None = None
        self._rows: BatchRows | None = None
        self._laid: BatchRows | None = None
        self._learning: str | None = None
        self._is_fresh = False

    @property
    def num_layers(self) -> int:
        """Layers of adapters in the graph that was computed last."""
        return len(self._chains)

    def knows(self, adapter: str) -> bool:
        """Whether its tensors are known, from a decode of its own."""
        return adapter in self._owners.values()

    def forget(self, adapter: str) -> None:
        """It is freed; its tensors' addresses may come back as another's."""
        self._owners = {address: owner for address, owner in self._owners.items() if owner != adapter}

    def expect_alone(self, context: int, adapter: str | None, num_tokens: int, num_outputs: int) -> None:
        """The next batch is of one voice: learn the adapter's tensors; a rewired graph gives it all rows."""
        self._rows = None
        self._learning = None if adapter is None or self.knows(adapter) else adapter
        if self._chains and adapter is not None:
            everything = {adapter: Range(0, num_tokens)}
            self._lay(BatchRows(num_tokens, num_outputs, everything, {adapter: Range(0, num_outputs)}))
        self._begin(context, is_asked=self._learning is not None)

    def expect_mixed(self, context: int, rows: BatchRows) -> None:
        """The next batch is of several voices. Raises EngineError where it cannot be."""
        unknown = [adapter for adapter in rows.tokens if not self.knows(adapter)]
        if unknown or self.problem:
            raise EngineError(f"Brands cannot be mixed in a batch: {self.problem or f'{unknown} are not known'}.")
        self._rows, self._learning = rows, None
        self._lay(rows)
        self._begin(context, is_asked=not self._chains)

    def finish(self, context: int, *, is_computed: bool) -> None:
        """Raises EngineError where a mixed batch was computed without being rewired, so that its numbers are wrong."""
        self._graph.set_callback(context, None)
        was_mixed, self._rows = self._rows is not None and is_computed, None
        if was_mixed and (self._open or not self._chains):
            self.problem = self.problem or "the graph does not hold what adapters add"
        if was_mixed and self.problem:
            raise EngineError(f"Brands cannot be mixed in a batch: {self.problem}.")

    def _begin(self, context: int, *, is_asked: bool) -> None:
        self._is_fresh, self._open = True, None
        if is_asked:
            self._graph.set_callback(context, self.callback)

    def _lay(self, rows: BatchRows) -> None:
        """Rewire the graph of the last batch, in case it is used again. Another size makes another graph."""
        if self._laid is None or (rows.num_tokens, rows.num_outputs) != (self._laid.num_tokens, self._laid.num_outputs):
            return
        if rows != self._laid:
            self._laid = rows
            for chain in self._chains:
                self._rewire(chain, rows)

    def _ask(self, address: int, is_asking: bool, _: int | None) -> bool:
        """True stops the computation, which is done where it would go wrong."""
        try:
            if self._is_fresh:  # the graph is new, whatever was known of the last one is gone
                self._is_fresh, self._chains, self._laid = False, [], self._rows
            if not self.problem:
                self._meet(address)
        except EngineError as error:
            self.problem = error.message
        except Exception as error:  # noqa: BLE001 - whatever leaves a callback is lost, and the batch goes on wrongly
            self.problem = f"the eval callback failed: {error!r}"
        return bool(self.problem) and self._rows is not None and is_asking

    def _meet(self, address: int) -> None:
        if self._rows is None and self._learning is None:
            return
        if self._open:
            self._follow(self._open, address)
            return
        source = ctypes.c_size_t.from_address(address + SOURCE).value
        owner = self._owners.get(source)
        if owner is not None and self._rows is not None:
            self._start(owner, address)
        elif self._learning is not None and source and Tensor.from_address(source).name.endswith(LORA_A):
            self._owners[source] = self._learning

    def _start(self, adapter: str, address: int) -> None:
        """The first node of an adapter in a layer: from here on, only its rows."""
        node = Tensor.from_address(address)
        _demand(node.op == self._graph.mul_mat and bool(node.src[1]), "an adapter that is no plain product")
        entry = Tensor.from_address(node.src[1])
        _demand(_is_plain(entry) and _is_plain(node), "the input of an adapter is not a plain table of rows")
        _demand(self._is_in_memory(entry) and self._is_in_memory(node), "the graph lies outside of memory")
        view = Tensor.from_buffer_copy(entry)
        self._open = chain = _Chain(adapter, entry, entry.ne[1], view, [node])
        node.src[1] = ctypes.addressof(view)
        self._rewire(chain, self._current())

    def _follow(self, chain: _Chain, address: int) -> None:
        node, last = Tensor.from_address(address), chain.nodes[-1]
        before = ctypes.addressof(last)
        _demand(_is_plain(node) and node.ne[1] == chain.num_rows, "what an adapter adds is not a plain table of rows")
        if len(chain.nodes) == 1:
            _demand(node.op == self._graph.mul_mat and node.src[1] == before, "no second product behind the first")
            chain.nodes.append(node)
        elif len(chain.nodes) == 2:
            _demand(node.op == self._graph.scale and node.src[0] == before, "no scaling behind the second product")
            chain.nodes.append(node)
        else:
            _demand(node.op == self._graph.add and node.src[1] == before, "no sum behind the scaling")
            self._close(chain, node)
        self._rewire(chain, self._current())

    def _close(self, chain: _Chain, total: Tensor) -> None:
        product = Tensor.from_address(total.src[0])
        _demand(_is_plain(product) and list(product.ne) == list(total.ne), "an adapter's sum changes the shape")
        _demand(total.data != chain.nodes[-1].data, "an adapter's sum takes the place of one of its parts")
        row_bytes = total.nb[1]
        _demand(row_bytes * chain.num_rows <= MAX_OFFSET, "a batch has more bytes than a sum can address")
        total.op = self._graph.acc
        total.op_params[:5] = [row_bytes, 0, 0, 0, int(total.data == product.data)]
        chain.total, self._open = total, None
        self._chains.append(chain)

    def _rewire(self, chain: _Chain, rows: BatchRows) -> None:
        mine = rows.of_node(chain.num_rows, chain.adapter)
        _resize(chain.view, mine.count)
        chain.view.data = (chain.input.data or 0) + mine.start * chain.input.nb[1]
        for node in chain.nodes:
            _resize(node, mine.count)
        if chain.total is not None:
            chain.total.op_params[3] = mine.start * chain.total.nb[1] if mine.count else 0

    def _current(self) -> BatchRows:
        if self._rows is None:
            raise EngineError("a graph is rewired for a batch of one voice")
        return self._rows

    def _is_in_memory(self, tensor: Tensor) -> bool:
        buffer = tensor.buffer or 0
        if buffer not in self._hosts:
            self._hosts[buffer] = self._graph.is_in_memory(buffer)
        return self._hosts[buffer]


def open_adapter_rows(num_gpu_layers: int, num_spare_sequences: int, max_batch_tokens: int) -> AdapterRows:
    """Raises EngineError with the reason why adapters cannot be mixed in such a context."""
    if num_gpu_layers or llama().llama_supports_gpu_offload():
        raise EngineError("it works on the processor only, and this library computes on a GPU")
    if num_spare_sequences < NUM_SPARE_SEQUENCES:
        raise EngineError("engine.max_sequences leaves no sequences to try it with")
    if max_batch_tokens > MAX_BATCH_TOKENS:
        raise EngineError(f"batches of {max_batch_tokens} tokens are not computed in one go")
    return AdapterRows(open_graph())


def _is_plain(tensor: Tensor) -> bool:
    """Rows of float32, one behind the other."""
    is_table = tensor.ne[2] == tensor.ne[3] == 1 and tensor.type == F32
    return bool(is_table and tensor.nb[0] == 4 and tensor.nb[1] == 4 * tensor.ne[0])


def _resize(tensor: Tensor, num_rows: int) -> None:
    tensor.ne[1] = num_rows
    tensor.nb[2] = tensor.nb[3] = tensor.nb[1] * num_rows


def _demand(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise EngineError(otherwise)
