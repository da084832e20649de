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
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.errors import EngineError
from server.engine.native import llama
from server.engine.tensors import F32, STRIDE_BYTES, EvalCallback, Graph, Tensor, open_graph

SOURCE = Tensor.src.offset
NE1, NB1 = Tensor.ne.offset // 8 + 1, Tensor.nb.offset // 8 + 1
SRC0, SRC1, DATA = SOURCE // 8, SOURCE // 8 + 1, Tensor.data.offset // 8
OPERATION, PARAMETER = Tensor.op.offset // 4, Tensor.op_params.offset // 4
TENSOR, NUM_NODES = STRIDE_BYTES // 8, 4
SUM = 3 * TENSOR
"""Places of fields in the memory of four tensors in a row: of whole words, but for OPERATION and PARAMETER, which count
halves. The last of the four is the sum. Through arrays, since a graph has hundreds of these."""
_Words, _Numbers = ctypes.c_int64 * (4 * TENSOR), ctypes.c_int32 * (8 * TENSOR)
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


class _Part:
    """The four nodes that one adapter adds to one linear layer. llama.cpp makes them one behind the other."""

    __slots__ = ("_entry_row_bytes", "_entry_start", "_numbers", "_view", "_words", "adapter", "num_rows")

    def __init__(self, graph: Graph, adapter: str, first: int, *, is_proven: bool) -> None:
        """is_proven: its shapes were looked at in an earlier graph.

        Raises EngineError where they are not what llama.cpp adds for an adapter; then nothing is changed.
        """
        self.adapter = adapter
        self._words, self._numbers = _Words.from_address(first), _Numbers.from_address(first)
        self._demand_links(graph, first)
        entry = Tensor.from_address(self._words[SRC1])
        self.num_rows = entry.ne[1]
        self._entry_start, self._entry_row_bytes = entry.data or 0, entry.nb[1]
        if self.num_rows and not is_proven:
            self._demand_shapes(graph, entry)
        self._demand_places()
        self._view = Tensor.from_buffer_copy(entry)
        self._words[SRC1] = ctypes.addressof(self._view)
        self._make_acc(graph)

    def set_rows(self, rows: Range) -> None:
        """Compute these rows only."""
        words = self._words
        words[NE1] = words[TENSOR + NE1] = words[2 * TENSOR + NE1] = self._view.ne[1] = rows.count
        self._view.data = self._entry_start + rows.start * self._entry_row_bytes
        self._numbers[2 * SUM + PARAMETER + 3] = rows.start * words[SUM + NB1] if rows.count else 0

    def _demand_links(self, graph: Graph, first: int) -> None:
        words, numbers = self._words, self._numbers
        second, third = first + 8 * TENSOR, first + 16 * TENSOR
        found = [numbers[2 * node * TENSOR + OPERATION] for node in range(NUM_NODES)]
        _demand(found == [graph.mul_mat, graph.mul_mat, graph.scale, graph.add], "an adapter adds other operations")
        is_chain = words[TENSOR + SRC1] == first and words[2 * TENSOR + SRC0] == second and words[SUM + SRC1] == third
        _demand(is_chain, "an adapter's operations do not follow one another")

    def _demand_shapes(self, graph: Graph, entry: Tensor) -> None:
        product = Tensor.from_address(self._words[SUM + SRC0])
        nodes = [Tensor.from_address(self._address(node)) for node in range(NUM_NODES)]
        for tensor in (entry, product, *nodes):
            _demand(_is_plain(tensor, self.num_rows), "what an adapter reads or adds is not a plain table of rows")
            _demand(graph.is_in_memory(tensor.buffer), "the graph lies outside of memory")
        _demand(product.ne[0] == nodes[3].ne[0] == nodes[2].ne[0], "an adapter's sum changes the shape")

    def _demand_places(self) -> None:
        words = self._words
        is_apart = words[SUM + DATA] != words[2 * TENSOR + DATA]
        _demand(is_apart, "an adapter's sum takes the place of one of its parts")
        is_small = words[SUM + NB1] * self.num_rows <= MAX_OFFSET
        _demand(is_small, "a batch has more bytes than a sum can address")

    def _make_acc(self, graph: Graph) -> None:
        product = Tensor.from_address(self._words[SUM + SRC0])
        is_in_place = self._words[SUM + DATA] == product.data
        first = 2 * SUM + PARAMETER
        self._numbers[2 * SUM + OPERATION] = graph.acc
        self._numbers[first : first + 5] = [self._words[SUM + NB1], 0, 0, 0, int(is_in_place)]

    def _address(self, node: int) -> int:
        return ctypes.addressof(self._words) + 8 * node * TENSOR


class AdapterRows:
    """Rewires the graphs of one context. Before each decode `expect_alone` or `expect_mixed`, after it `finish`.

    problem: why it cannot go on; what was computed then is wrong, and nothing may be mixed any more.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.callback = EvalCallback(self._ask)
        self.problem = ""
        self._owners: dict[int, str] = {}
        self._parts: list[_Part] = []
        self._proven: set[int] = set()
        self._rows: BatchRows | None = None
        self._laid: BatchRows | None = None
        self._learning: str | None = None
        self._is_fresh = self._is_looking = False

    @property
    def num_layers(self) -> int:
        """Layers of adapters in the graph that was computed last."""
        return len(self._parts)

    def knows(self, adapter: str) -> bool:
        """Whether its tensors are known, from a decode of its own."""
        return adapter in self._owners.values()

    def forget(self, adapter: str) -> None:
        """It is freed; its tensors' addresses may come back as another's."""
        gone = {address for address, owner in self._owners.items() if owner == adapter}
        self._proven -= gone
        for address in gone:
            del self._owners[address]

    def expect_alone(self, context: int, adapter: str | None, num_tokens: int, num_outputs: int) -> None:
        """The next batch is of one voice: learn the adapter's tensors; a rewired graph gives it all rows."""
        self._rows = None
        self._learning = None if adapter is None or self.knows(adapter) else adapter
        if self._parts and adapter is not None:
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
        self._begin(context, is_asked=not self._parts)

    def finish(self, context: int, *, is_computed: bool) -> None:
        """Raises EngineError where a mixed batch was computed without being rewired, so that its numbers are wrong."""
        self._graph.set_callback(context, None)
        was_mixed, self._rows = self._rows is not None and is_computed, None
        if was_mixed and not self._parts:
            self.problem = self.problem or "the graph does not hold what adapters add"
        if was_mixed and self.problem:
            raise EngineError(f"Brands cannot be mixed in a batch: {self.problem}.")

    def _begin(self, context: int, *, is_asked: bool) -> None:
        self._is_fresh = True
        self._is_looking = self._rows is not None or (self._learning is not None and not self.problem)
        if is_asked:
            self._graph.set_callback(context, self.callback)

    def _lay(self, rows: BatchRows) -> None:
        """Rewire the graph of the last batch, in case it is used again. Another size makes another graph."""
        laid = self._laid
        if laid is None or rows == laid or (rows.num_tokens, rows.num_outputs) != (laid.num_tokens, laid.num_outputs):
            return
        self._laid = rows
        for part in self._parts:
            part.set_rows(rows.of_node(part.num_rows, part.adapter))

    def _ask(self, address: int, is_asking: bool, _: int | None) -> bool:
        """True stops the computation, which is done where it would go wrong."""
        if self._is_fresh:  # the graph is new, whatever was known of the last one is gone
            self._is_fresh, self._parts, self._laid = False, [], self._rows
        if not self._is_looking:
            return False
        source = ctypes.c_size_t.from_address(address + SOURCE).value
        owner = self._owners.get(source)
        try:
            if self._learning is not None and source and Tensor.from_address(source).name.endswith(LORA_A):
                self._owners[source] = self._learning
            elif self._rows is not None and owner is not None:
                self._rewire(owner, address, self._rows)
        except EngineError as error:
            self.problem = error.message
        except Exception as error:  # noqa: BLE001 - whatever leaves a callback is lost, and the batch goes on wrongly
            self.problem = f"the eval callback failed: {error!r}"
        return bool(self.problem) and self._rows is not None and is_asking

    def _rewire(self, adapter: str, address: int, rows: BatchRows) -> None:
        if not self.problem:
            source = Tensor.from_address(address).src[0]
            part = _Part(self._graph, adapter, address, is_proven=source in self._proven)
            if part.num_rows:
                self._proven.add(source)
            part.set_rows(rows.of_node(part.num_rows, adapter))
            self._parts.append(part)


def open_adapter_rows(num_gpu_layers: int, num_spare_sequences: int, max_batch_tokens: int) -> AdapterRows:
    """Raises EngineError with the reason why adapters cannot be mixed in such a context."""
    if num_gpu_layers or llama().llama_supports_gpu_offload():
        raise EngineError("it works on the processor only, and this library computes on a GPU")
    if num_spare_sequences < NUM_SPARE_SEQUENCES:
        raise EngineError("engine.max_sequences leaves no sequences to try it with")
    if max_batch_tokens > MAX_BATCH_TOKENS:
        raise EngineError(f"batches of {max_batch_tokens} tokens are not computed in one go")
    return AdapterRows(open_graph())


def _is_plain(tensor: Tensor, num_rows: int) -> bool:
    """Rows of float32, one behind the other."""
    num_columns, found_rows, *more = tensor.ne
    strides = tensor.nb
    is_table = tensor.type == F32 and found_rows == num_rows and more == [1, 1]
    return bool(is_table and strides[0] == 4 and strides[1] == 4 * num_columns)


def _demand(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise EngineError(otherwise)
