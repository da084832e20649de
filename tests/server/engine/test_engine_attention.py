"""Our attention kernel (config/llama.cpp/attention.cpp), through ggml's own graphs, against numpy."""

import ctypes
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from server.engine.native import llama

Floats = NDArray[np.float32]
F32, F16, BF16 = 0, 1, 30
SEED = 5
MEMORY_BYTES = 64_000_000
ADDRESS, SIZE, FLOAT, INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_float, ctypes.c_int
LONG = ctypes.c_int64


@dataclass(frozen=True)
class Case:
    """sees: of each token, from which cell up to which."""

    sees: tuple[tuple[int, int], ...]
    cells: int = 1024
    heads: int = 9
    key_heads: int = 3
    head: int = 64
    key_type: int = F16


ONE = Case(sees=((0, 700),))
CASES = {
    "one row": ONE,
    "one cell": Case(sees=((3, 4),)),
    "the last cell of a chunk": Case(sees=((511, 512), (512, 513))),
    "one prompt": Case(sees=tuple((0, 600 + row) for row in range(150))),
    "many streams": Case(sees=tuple((60 * row, 60 * row + 50) for row in range(16))),
    "cells that fill no tile": replace(ONE, cells=992, sees=((0, 992),)),
    "a head of its own for each": replace(ONE, key_heads=9),
    "fourteen heads, two of keys": replace(ONE, heads=14, key_heads=2),
    "wide heads": replace(ONE, heads=4, key_heads=2, head=256),
    "narrow heads": replace(ONE, head=8),
    "heads that fill no register": replace(ONE, head=80),
    "a window": Case(sees=tuple((5 * row, 900 + row) for row in range(20))),
    "keys in BF16": replace(ONE, key_type=BF16, sees=((0, 300), (100, 301))),
    "more rows than a tile, cut within a token": Case(sees=tuple((5 * row, 900) for row in range(70))),
}


@dataclass(frozen=True)
class Inputs:
    """q: (tokens, heads, head). k, v: (cells, key heads, head), as their types hold them."""

    q: Floats
    k: Floats
    v: Floats

    @classmethod
    def of(cls, case: Case) -> "Inputs":
        chance = np.random.default_rng(SEED)
        q = chance.normal(size=(len(case.sees), case.heads, case.head)) * 3
        k, v = (chance.normal(size=(case.cells, case.key_heads, case.head)) for _ in range(2))
        keys = _bf16(k).astype(np.uint32) << 16 if case.key_type == BF16 else None
        return cls(
            q.astype(np.float32),
            keys.view(np.float32) if keys is not None else k.astype(np.float16).astype(np.float32),
            v.astype(np.float16).astype(np.float32),
        )

    def take(self, rows: slice) -> "Inputs":
        return replace(self, q=self.q[rows])


@pytest.mark.parametrize("name", CASES)
def test_attention_is_what_numpy_computes(name: str) -> None:
    case = CASES[name]
    inputs = Inputs.of(case)
    assert np.abs(attention(case, inputs) - expected(case, inputs)).max() < 2e-4


@pytest.mark.parametrize("name", CASES)
def test_a_row_depends_neither_on_other_rows_nor_on_threads(name: str) -> None:
    case = CASES[name]
    inputs = Inputs.of(case)
    together = attention(case, inputs)
    for row in {0, len(case.sees) // 2, len(case.sees) - 1}:
        alone = replace(case, sees=case.sees[row : row + 1])
        for threads in (1, 3):
            assert np.array_equal(attention(alone, inputs.take(slice(row, row + 1)), threads)[0], together[row])


def test_where_cells_lie_changes_no_bit() -> None:
    case = Case(sees=((0, 600), (0, 601)))
    inputs = Inputs.of(case)
    moved = replace(case, sees=((37, 637), (37, 638)))
    elsewhere = replace(inputs, k=np.roll(inputs.k, 37, axis=0), v=np.roll(inputs.v, 37, axis=0))
    assert np.array_equal(attention(case, inputs), attention(moved, elsewhere))


def test_a_row_that_sees_nothing_gives_nothing() -> None:
    case = Case(sees=((0, 0), (0, 5)))
    found = attention(case, Inputs.of(case))
    assert not found[0].any()
    assert found[1].any()


def expected(case: Case, inputs: Inputs) -> NDArray[np.float64]:
    sharing = case.heads // case.key_heads
    k, v = (np.repeat(part.astype(np.float64), sharing, axis=1) for part in (inputs.k, inputs.v))
    scores = np.einsum("thd,chd->thc", inputs.q.astype(np.float64), k) / np.sqrt(case.head)
    scores += mask_of(case)[:, None, :]
    shares = np.exp(scores - scores.max(axis=2, keepdims=True))
    return np.asarray(np.einsum("thc,chd->thd", shares / shares.sum(axis=2, keepdims=True), v))


def mask_of(case: Case) -> NDArray[np.float16]:
    mask = np.full((len(case.sees), case.cells), -np.inf, np.float16)
    for row, (begin, end) in enumerate(case.sees):
        mask[row, begin:end] = 0
    return mask


def attention(case: Case, inputs: Inputs, threads: int = 2) -> Floats:
    """(tokens, heads, head), as the library computes it."""
    memory = _call("ggml_init", ADDRESS, _Memory, _Memory(MEMORY_BYTES, None, False))
    try:
        cells = (case.key_heads * case.head, case.cells)
        keys = _bf16(inputs.k) if case.key_type == BF16 else inputs.k.astype(np.float16)
        q = _tensor(memory, F32, (case.head, case.heads, len(case.sees)), inputs.q)
        k = _by_head(memory, _tensor(memory, case.key_type, cells, keys), case)
        v = _by_head(memory, _tensor(memory, F16, cells, inputs.v.astype(np.float16)), case)
        mask = _tensor(memory, F16, (case.cells, len(case.sees)), mask_of(case))
        node = _call(
            "ggml_flash_attn_ext",
            ADDRESS,
            *(ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, FLOAT, FLOAT, FLOAT),
            *(memory, _swapped(memory, q), k, v, mask, case.head**-0.5, 0.0, 0.0),
        )
        graph = _call("ggml_new_graph", ADDRESS, ADDRESS, memory)
        _call("ggml_build_forward_expand", None, ADDRESS, ADDRESS, graph, node)
        assert _call("ggml_graph_compute_with_ctx", INT, ADDRESS, ADDRESS, INT, memory, graph, threads) == 0
        found = np.empty((len(case.sees), case.heads, case.head), np.float32)
        ctypes.memmove(found.ctypes.data, _data(node), found.nbytes)
        return found
    finally:
        _call("ggml_free", None, ADDRESS, memory)


class _Memory(ctypes.Structure):
    """struct ggml_init_params."""

    _fields_ = (("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


def _call(name: str, result: Any, *given: Any) -> Any:
    """given: the types of all arguments, then the arguments."""
    types, arguments = given[: len(given) // 2], given[len(given) // 2 :]
    return ctypes.CFUNCTYPE(result, *types)((name, llama().llama_cpp._lib))(*arguments)


def _by_head(memory: int, cells: int, case: Case) -> Any:
    """As the KV cache is seen: (head, cells, key heads)."""
    head_bytes = 2 * case.head
    view = _call(
        "ggml_view_3d",
        ADDRESS,
        *(ADDRESS, ADDRESS, LONG, LONG, LONG, SIZE, SIZE, SIZE),
        *(memory, cells, case.head, case.key_heads, case.cells, head_bytes, case.key_heads * head_bytes, 0),
    )
    return _swapped(memory, view)


def _swapped(memory: int, tensor: int) -> Any:
    """Heads behind tokens or cells."""
    return _call("ggml_permute", ADDRESS, ADDRESS, ADDRESS, INT, INT, INT, INT, memory, tensor, 0, 2, 1, 3)


def _tensor(memory: int, kind: int, sizes: tuple[int, ...], values: NDArray[Any]) -> Any:
    native = (ctypes.c_int64 * len(sizes))(*sizes)
    types = (ADDRESS, INT, INT, ctypes.POINTER(LONG))
    tensor = _call("ggml_new_tensor", ADDRESS, *types, memory, kind, len(sizes), native)
    kept = np.ascontiguousarray(values)
    ctypes.memmove(_data(tensor), kept.ctypes.data, kept.nbytes)
    return tensor


def _data(tensor: int) -> Any:
    return _call("ggml_get_data", ADDRESS, ADDRESS, tensor)


def _bf16(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Cut off, not rounded."""
    return (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)
