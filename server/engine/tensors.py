"""llama.cpp's compute graph from Python: the fields of a ggml_tensor, and a door to the eval callback of a context.

The library promises no layout of its structs. So before anything is read or written through `Tensor`, tensors are made
with the library's own functions, and every field that we use is compared with what these functions say of it. Where
one differs, or where a function is missing, `open_graph` refuses, and graphs are left alone.
"""

import ctypes
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from config.errors import EngineError
from server.engine.native import llama

F32 = 0
NUM_DIMENSIONS, MAX_PARAMETER_BYTES, MAX_SOURCES, MAX_NAME = 4, 64, 10, 64
MAX_OPERATIONS = 90
"""llama.cpp has more; it looks for the name of one without checking the number."""
OBJECT_BYTES = 32
"""What ggml_tensor_overhead() counts beside the tensor itself."""
GET_SCHEDULER = "_ZNK13llama_context9get_schedEv"
"""llama_context::get_sched() const. Not part of the C API, but exported where C++ symbols are not hidden."""
MEMORY_BYTES = 65_536

EvalCallback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_bool, ctypes.c_void_p)
"""(tensor, is_asking, user data): asked of each node before it is computed; True cuts the computation behind it."""


class Tensor(ctypes.Structure):
    """struct ggml_tensor. `ne`: sizes, row length first; `nb`: strides in bytes."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * NUM_DIMENSIONS),
        ("nb", ctypes.c_size_t * NUM_DIMENSIONS),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * (MAX_PARAMETER_BYTES // 4)),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * MAX_SOURCES),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * MAX_NAME),
        ("extra", ctypes.c_void_p),
        ("padding", ctypes.c_char * 8),
    )


class _Memory(ctypes.Structure):
    """struct ggml_init_params."""

    _fields_ = (("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


@dataclass(frozen=True, slots=True)
class Graph:
    """The numbers of the operations that we know, as this build of the library counts them."""

    mul_mat: int
    scale: int
    add: int
    acc: int
    _last: list[int | None] = field(default_factory=lambda: [None, False], repr=False)
    """The buffer that was asked of last, and whether it is in memory: a graph has one or two of them."""

    def set_callback(self, context: int, callback: object | None) -> None:
        """From the next graph on that is computed. A graph that is built anew has the context's own callback again."""
        scheduler = _function(GET_SCHEDULER, ctypes.c_void_p, ctypes.c_void_p)(context)
        address = ctypes.cast(callback, ctypes.c_void_p) if callback else None  # type: ignore[arg-type]
        pointers = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
        _function("ggml_backend_sched_set_eval_callback", None, *pointers)(scheduler, address, None)

    def is_in_memory(self, buffer: int | None) -> bool:
        """Whether the processor can read what lies there."""
        if buffer != self._last[0]:
            is_host = _function("ggml_backend_buffer_is_host", ctypes.c_bool, ctypes.c_void_p)
            self._last[:] = [buffer, bool(buffer and is_host(buffer))]
        return bool(self._last[1])


STRIDE_BYTES = ctypes.sizeof(Tensor) + OBJECT_BYTES
"""From one tensor of a graph to the one that was made next."""


def open_graph() -> Graph:
    """Raises EngineError with the reason why this build of the library cannot be worked with."""
    for name in (GET_SCHEDULER, "ggml_backend_sched_set_eval_callback", "ggml_backend_buffer_is_host"):
        _function(name, None)
    memory = _function("ggml_init", ctypes.c_void_p, _Memory)(_Memory(MEMORY_BYTES, None, False))
    if not memory:
        raise EngineError("ggml_init gives no memory")
    try:
        return _Trial(memory).graph()
    finally:
        _function("ggml_free", None, ctypes.c_void_p)(memory)


@dataclass(frozen=True, slots=True)
class _Trial:
    """Makes tensors in ggml's memory and compares their fields with what is known of them."""

    memory: int

    def graph(self) -> Graph:
        whole, weights = self._new(8, 6), self._new(8, 3)
        self._check_size(whole, weights)
        self._check_plain(whole, (8, 6))
        product = self._call("ggml_mul_mat", weights, whole)
        scaled = self._call("ggml_scale", product, ctypes.c_float(0.5))
        total = self._call("ggml_add", product, scaled)
        self._check_plain(product, (3, 6))
        _expect("scale", ctypes.c_float.from_buffer(Tensor.from_address(scaled).op_params).value, 0.5)
        return Graph(
            mul_mat=self._operation(product, "MUL_MAT", weights, whole),
            scale=self._operation(scaled, "SCALE", product, None),
            add=self._operation(total, "ADD", product, scaled),
            acc=self._check_acc(),
        )

    def _check_acc(self) -> int:
        """Adds rows 2 and 3 of one tensor to another: offsets and sizes in bytes, and whether it works in place."""
        whole, rows = self._new(8, 6), self._new(8, 2)
        sizes = [ctypes.c_size_t(value) for value in (32, 192, 192, 64)]
        number = 0
        for name, in_place in (("ggml_acc", 0), ("ggml_acc_inplace", 1)):
            made = self._call(name, whole, rows, *sizes)
            _expect(name, list(Tensor.from_address(made).op_params[:5]), [32, 192, 192, 64, in_place])
            number = self._operation(made, "ACC", whole, rows)
        window = (whole, ctypes.c_int64(8), ctypes.c_int64(2), sizes[0], sizes[3])
        address = self._call("ggml_view_2d", *window)
        _expect("distance of tensors", self._call("ggml_view_2d", *window) - address, STRIDE_BYTES)
        view = Tensor.from_address(address)
        origin = Tensor.from_address(whole).data or 0
        _expect(
            "view", (view.data, view.view_src, view.view_offs, list(view.ne)), (origin + 64, whole, 64, [8, 2, 1, 1])
        )
        return number

    def _check_size(self, first: int, second: int) -> None:
        overhead = _function("ggml_tensor_overhead", ctypes.c_size_t)()
        _expect("size of a tensor", ctypes.sizeof(Tensor), overhead - OBJECT_BYTES)
        _expect("order of tensors", first < second, True)

    def _check_plain(self, address: int, shape: tuple[int, int]) -> None:
        tensor, row_bytes = Tensor.from_address(address), 4 * shape[0]
        _function("ggml_set_name", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(address, b"a tensor's name")
        _expect("name", tensor.name, b"a tensor's name")
        _expect("type", tensor.type, F32)
        _expect("sizes", list(tensor.ne), [*shape, 1, 1])
        _expect("strides", list(tensor.nb), [4, row_bytes, row_bytes * shape[1], row_bytes * shape[1]])
        _expect("data", tensor.data, self._ask("ggml_get_data", ctypes.c_void_p, address))
        _expect("bytes", self._ask("ggml_nbytes", ctypes.c_size_t, address), row_bytes * shape[1])

    def _operation(self, address: int, name: str, first: int, second: int | None) -> int:
        tensor = Tensor.from_address(address)
        _expect(f"sources of {name}", (tensor.src[0], tensor.src[1]), (first, second))
        _expect("operation", 0 < tensor.op < MAX_OPERATIONS, True)
        found = _function("ggml_op_name", ctypes.c_char_p, ctypes.c_int)(tensor.op)
        _expect("operation", found, name.encode())
        return int(tensor.op)

    def _new(self, num_columns: int, num_rows: int) -> int:
        types = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        made: int = _function("ggml_new_tensor_2d", ctypes.c_void_p, *types)(self.memory, F32, num_columns, num_rows)
        return made

    def _call(self, name: str, *arguments: Any) -> int:
        """A function that makes a tensor. Plain integers among the arguments are tensors."""
        types: list[Any] = [ctypes.c_void_p if isinstance(argument, int) else type(argument) for argument in arguments]
        made: int = _function(name, ctypes.c_void_p, ctypes.c_void_p, *types)(self.memory, *arguments)
        return made

    @staticmethod
    def _ask(name: str, result: Any, address: int) -> object:
        answer: object = _function(name, result, ctypes.c_void_p)(address)
        return answer


@cache
def _function(name: str, result: Any, *arguments: Any) -> Any:
    """With types of its own, so that those of the bindings stay as they are."""
    try:
        return ctypes.CFUNCTYPE(result, *arguments)((name, llama().llama_cpp._lib))
    except AttributeError as error:
        raise EngineError(f"the llama.cpp library has no function {name}") from error


def _expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise EngineError(f"{what} in the llama.cpp library: {found!r} instead of {expected!r}")
