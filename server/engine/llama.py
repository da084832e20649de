"""The real Backend: llama.cpp through its low-level C API.

Many sequences share one pool of KV cells (`kv_unified`), so a prefix is shared by marking its cells for one more
sequence. Every return value is checked here, because the library answers a wrong one with a crash later.
"""

import ctypes
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.lora_header import read_adapter_header
from config.errors import BadRequestError, EngineError, ModelError
from config.gguf_header import GgufHeader, read_header
from config.settings import EngineSettings
from server.engine.backend import BackendShape, Logits, Span
from server.engine.messages import AdapterRef
from server.engine.native import complaints, llama
from server.engine.weights import LOAD_MODES, Weights, refuse_unlocked

FLASH_ATTENTION_ON = 1
TYPE_F16, TYPE_BF16 = 1, 30
KEY_TYPE_ON_CPU = TYPE_BF16
"""Keys and values of different types make llama.cpp take the one attention kernel whose result for a row depends on
nothing else in the batch, so an answer is the same, to the bit, alone and in company. With both in F16 it changes
kernel with the number of rows, and the rounding grows to 0.1-0.4 between the two best logits of a 135 M model in Q4_1.
The price is 4 % of the decode time and 20 % of the prefill time (512 tokens); set it to TYPE_F16 to have that back.
Kernels on a GPU are others, so there both stay F16."""
MAX_UBATCH_TOKENS = 512
MANY_POSITION_ROPES = (8, 24, 40)
"""LLAMA_ROPE_TYPE_MROPE, _VISION, _IMROPE."""


@dataclass(frozen=True, slots=True)
class ContextShape:
    """The sizes that a context is made with. num_threads: 0 means one for each physical core."""

    num_cells: int
    num_sequences: int
    max_batch_tokens: int
    max_batch_spans: int
    num_threads: int = 0
    num_gpu_layers: int = 0
    weights: Weights = "mapped"

    @classmethod
    def from_settings(cls, settings: EngineSettings) -> "ContextShape":
        return cls(
            num_cells=settings.context_tokens,
            num_sequences=settings.max_sequences,
            max_batch_tokens=settings.prefill_slice_tokens + settings.max_running,
            max_batch_spans=settings.max_running,
            num_threads=settings.threads,
            num_gpu_layers=settings.gpu_layers,
            weights=settings.weights,
        )


class LlamaBackend:
    """One model, one context, and the adapters that are loaded. See `backend.FactBackend` for the contract."""

    def __init__(self, path: Path, shape: ContextShape) -> None:
        """Raises ModelError where the model cannot be loaded or the context does not fit in memory."""
        self._library = llama()
        self._header = read_header(path)
        self._model = _load_model(path, shape)
        self._context = _make_context(self._model, path, shape)
        self._memory = self._library.llama_get_memory(self._context)
        self._batch = _Batch(shape.max_batch_tokens)
        self._adapters: dict[str, int] = {}
        self._active: str | None = None
        self._rows: list[int] = []
        self.vocabulary_handle: int = self._library.llama_model_get_vocab(self._model)
        self._num_logits: int = self._library.llama_vocab_n_tokens(self.vocabulary_handle)
        self._shape = self._describe(shape)
        self._key_type = _key_type(shape)

    @property
    def shape(self) -> BackendShape:
        return self._shape

    @property
    def header(self) -> GgufHeader:
        return self._header

    def decode(self, spans: list[Span], adapter: str | None) -> None:
        self._activate(adapter)
        self._rows = self._batch.fill(spans)
        result = self._library.llama_decode(self._context, self._batch.native)
        if result != 0:
            raise EngineError(f"The model could not compute a batch (llama_decode: {result}). {complaints()}".strip())

    def logits(self, span: int) -> Logits:
        pointer = self._library.llama_get_logits_ith(self._context, self._rows[span])
        if not pointer:
            raise EngineError(f"The model gave no logits for row {self._rows[span]}. {complaints()}".strip())
        return np.ctypeslib.as_array(pointer, shape=(self._num_logits,))

    def copy_prefix(self, source: int, target: int, num_tokens: int) -> None:
        self._library.llama_memory_seq_cp(self._memory, source, target, 0, num_tokens)

    def truncate(self, sequence: int, num_tokens: int) -> None:
        if not self._library.llama_memory_seq_rm(self._memory, sequence, num_tokens, -1):
            raise EngineError(f"Sequence {sequence} cannot be cut at {num_tokens} tokens with this kind of model.")

    def length(self, sequence: int) -> int:
        return int(self._library.llama_memory_seq_pos_max(self._memory, sequence)) + 1

    @property
    def block_problem(self) -> str:
        library, model = self._library, self._model
        if not self._shape.can_share_prefixes:
            return "this model keeps a running state, which cannot be put together from parts"
        if library.llama_model_n_swa(model) > 0:
            return "this model looks back over a sliding window only"
        if library.llama_model_rope_type(model) in MANY_POSITION_ROPES:
            return "this model counts positions in more than one dimension"
        return ""

    @property
    def state_format(self) -> str:
        version = self._library.llama_version().decode()
        return f"llama.cpp {version}, {self._library.__version__}, keys {self._key_type}, values {TYPE_F16}"

    def share(self, source: int, target: int) -> None:
        self._library.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def forget_prefix(self, sequence: int, num_tokens: int) -> None:
        if not self._library.llama_memory_seq_rm(self._memory, sequence, 0, num_tokens):
            raise EngineError(f"Sequence {sequence} cannot be cut before {num_tokens} tokens with this kind of model.")

    def save(self, sequence: int) -> bytes:
        size = self._library.llama_state_seq_get_size(self._context, sequence)
        buffer = (ctypes.c_uint8 * size)()
        if not size or self._library.llama_state_seq_get_data(self._context, buffer, size, sequence) != size:
            raise EngineError(f"The cells of sequence {sequence} cannot be saved. {complaints()}".strip())
        return bytes(buffer)

    def restore(self, sequence: int, saved: bytes, start: int, num_tokens: int) -> None:
        """What the library reads are positions, types and rows, each checked against the context; tokens are ours."""
        buffer = ctypes.cast(ctypes.c_char_p(saved), ctypes.POINTER(ctypes.c_uint8))
        num_read = self._library.llama_state_seq_set_data(self._context, buffer, len(saved), sequence)
        first = self._library.llama_memory_seq_pos_min(self._memory, sequence)
        last = self._library.llama_memory_seq_pos_max(self._memory, sequence)
        if num_read != len(saved) or (first, last) != (start, start + num_tokens - 1):
            raise EngineError(
                f"A saved block of {num_tokens} tokens from position {start} on came back as {first}..{last}. "
                f"{complaints()}".strip()
            )

    def load_adapter(self, adapter: AdapterRef) -> None:
        if adapter.sha256 in self._adapters:
            return
        _check_hash(adapter)
        read_adapter_header(adapter.path, self._header)
        handle = self._library.llama_adapter_lora_init(self._model, str(adapter.path).encode())
        if not handle:
            raise BadRequestError(f"Adapter {adapter.name} cannot be loaded. {complaints()}".strip(), param="model")
        self._adapters[adapter.sha256] = handle

    def free_adapter(self, sha256: str) -> None:
        if sha256 == self._active:
            self._activate(None)
        if sha256 in self._adapters:
            self._library.llama_adapter_lora_free(self._adapters.pop(sha256))

    def close(self) -> None:
        self._activate(None)
        for sha256 in list(self._adapters):
            self.free_adapter(sha256)
        self._library.llama_free(self._context)
        self._library.llama_model_free(self._model)

    def _activate(self, adapter: str | None) -> None:
        if adapter == self._active:
            return
        handles = [] if adapter is None else [self._adapters[adapter]]
        pointers = (self._library.llama_adapter_lora_p_ctypes * 1)(*handles)
        scales = (ctypes.c_float * 1)(1.0)
        if self._library.llama_set_adapters_lora(self._context, pointers, len(handles), scales) != 0:
            raise EngineError(f"Adapter {adapter} could not be switched on. {complaints()}".strip())
        self._active = adapter

    def _describe(self, shape: ContextShape) -> BackendShape:
        library, model = self._library, self._model
        has_state = library.llama_model_is_recurrent(model) or library.llama_model_is_hybrid(model)
        return BackendShape(
            num_cells=library.llama_n_ctx(self._context),
            num_sequences=shape.num_sequences,
            max_positions=library.llama_model_n_ctx_train(model),
            max_batch_tokens=shape.max_batch_tokens,
            max_batch_spans=shape.max_batch_spans,
            can_share_prefixes=not has_state,
        )


class _Batch:
    """A llama_batch over numpy arrays: filling it is a few slice assignments instead of five writes a token."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._sequences = np.zeros(capacity, np.int32)
        self._num_sequences = np.ones(capacity, np.int32)
        self._wants_logits = np.zeros(capacity, np.int8)
        first = self._sequences.ctypes.data
        self._sequence_pointers = np.arange(first, first + 4 * capacity, 4, dtype=np.uintp)
        self.native = self._as_native()

    def fill(self, spans: list[Span]) -> list[int]:
        """Returns each span's last row."""
        if sum(len(span.tokens) for span in spans) > self._capacity:
            raise EngineError(f"A batch of {len(spans)} spans is larger than {self._capacity} tokens.")
        end, rows = 0, []
        self._wants_logits[:] = 0
        for span in spans:
            begin, end = end, end + len(span.tokens)
            self._tokens[begin:end] = span.tokens
            self._positions[begin:end] = np.arange(span.start, span.start + len(span.tokens))
            self._sequences[begin:end] = span.sequence
            self._wants_logits[end - 1] = span.wants_logits
            rows.append(end - 1)
        self.native.n_tokens = end
        return rows

    def _as_native(self) -> ctypes.Structure:
        native: ctypes.Structure = llama().llama_batch()
        fields: dict[str, NDArray[Any]] = {
            "token": self._tokens,
            "pos": self._positions,
            "n_seq_id": self._num_sequences,
            "seq_id": self._sequence_pointers,
            "logits": self._wants_logits,
        }
        types = dict(item[:2] for item in llama().llama_batch._fields_)
        for name, array in fields.items():
            setattr(native, name, ctypes.cast(array.ctypes.data, types[name]))
        return native


def num_physical_cores() -> int:
    """Physical cores that this process may use; all logical ones where Linux does not tell which belong together."""
    topology = [Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") for cpu in _own_cpus()]
    siblings = {path.read_text(encoding="ascii") for path in topology if path.exists()}
    return len(siblings) or len(topology)


def _own_cpus() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _load_model(path: Path, shape: ContextShape) -> int:
    library = llama()
    parameters = library.llama_model_default_params()
    parameters.n_gpu_layers = shape.num_gpu_layers
    parameters.load_mode = LOAD_MODES[shape.weights]
    model: int | None = library.llama_model_load_from_file(str(path).encode(), parameters)
    if not model:
        raise ModelError(f"The model {path} cannot be loaded. {complaints()}".strip(), "Check models.base.")
    if shape.weights == "locked":
        refuse_unlocked(path)
    return model


def _make_context(model: int, path: Path, shape: ContextShape) -> int:
    library = llama()
    parameters = library.llama_context_default_params()
    parameters.n_ctx = shape.num_cells
    parameters.n_batch = shape.max_batch_tokens
    parameters.n_ubatch = min(shape.max_batch_tokens, MAX_UBATCH_TOKENS)
    parameters.n_seq_max = shape.num_sequences
    parameters.n_outputs_max = max(shape.max_batch_spans, shape.num_sequences)
    parameters.n_threads = parameters.n_threads_batch = shape.num_threads or num_physical_cores()
    parameters.kv_unified = True
    parameters.swa_full = True
    parameters.flash_attn_type = FLASH_ATTENTION_ON
    parameters.type_k = _key_type(shape)
    parameters.type_v = TYPE_F16
    parameters.no_perf = True
    context: int | None = library.llama_init_from_model(model, parameters)
    if not context:
        raise ModelError(
            f"{path} with {shape.num_cells} cells of context does not start. {complaints()}".strip(),
            "Lower engine.context_tokens if memory is short.",
        )
    return context


def _key_type(shape: ContextShape) -> int:
    return TYPE_F16 if shape.num_gpu_layers else KEY_TYPE_ON_CPU


def _check_hash(adapter: AdapterRef) -> None:
    try:
        with adapter.path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadRequestError(f"Adapter file {adapter.path} cannot be read ({error.strerror}).", "model") from error
    if found != adapter.sha256:
        raise BadRequestError(f"Adapter {adapter.name} was changed on disk: sha256 is {found[:12]}...", "model")
