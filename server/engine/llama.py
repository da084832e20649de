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
from config.settings import EngineSettings, Weights
from server.engine.backend import BackendShape, Logits, Span
from server.engine.messages import AdapterRef
from server.engine.mixing import MAX_BATCH_TOKENS, NUM_SPARE_SEQUENCES, AdapterRows, BatchRows, open_adapter_rows
from server.engine.native import complaints, llama
from server.engine.weights import LOAD_MODES, refuse_unlocked

FLASH_ATTENTION_ON = 1
TYPE_F16, TYPE_BF16 = 1, 30
KEY_TYPE_ON_CPU = TYPE_BF16
"""An answer must be the same, to the bit, alone and in company. Our attention (config/llama.cpp/attention.cpp) sees to
that with all types of 16 bits. Where it leaves a model to llama.cpp's own, keys and values of different types make that
take the one kernel whose result for a row depends on nothing else in the batch; with both in F16 it changes kernel with
the number of rows, and the gap between the two best logits of a 135 M model moves by 0.1-0.4. Kernels on a GPU are
others, so there both stay F16."""
MAX_UBATCH_TOKENS = 512
MIN_LOGITS = 16
"""Room for the logits of so many rows at least, so that a single stream can be drafted too."""
MAX_SEQUENCES = 256
"""llama.cpp's."""
MAX_UNNEEDED = 32
"""Adapters that a mixed batch does not need stay on for so many batches in all: taking them off makes llama.cpp plan
its memory again, which costs more than a few idle nodes."""
MANY_POSITION_ROPES = (8, 24, 40)
"""LLAMA_ROPE_TYPE_MROPE, _VISION, _IMROPE."""


@dataclass(frozen=True, slots=True)
class ContextShape:
    """The sizes that a context is made with. num_threads: 0 means one for each physical core.

    may_mix: several adapters in one batch are wanted; they need batches that are computed in one go.
    """

    num_cells: int
    num_sequences: int
    max_batch_tokens: int
    max_batch_spans: int
    num_threads: int = 0
    num_gpu_layers: int = 0
    weights: Weights = "mapped"
    may_mix: bool = False

    @property
    def num_spare_sequences(self) -> int:
        return min(NUM_SPARE_SEQUENCES, MAX_SEQUENCES - self.num_sequences) if self.may_mix else 0

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
            may_mix=settings.mix_brands != "off",
        )

    @property
    def max_logits(self) -> int:
        """Rows of a decode whose logits are kept; the library wants one for each sequence at least."""
        num_sequences = self.num_sequences + self.num_spare_sequences
        return max(self.max_batch_spans, num_sequences, min(MIN_LOGITS, self.max_batch_tokens))


class LlamaBackend:
    """One model, one context, and the adapters that are loaded. See `backend` for the contracts."""

    def __init__(self, path: Path, shape: ContextShape) -> None:
        """Raises ModelError where the model cannot be loaded or the context does not fit in memory."""
        self._library = llama()
        self._header = read_header(path)
        self._model = _load_model(path, shape)
        self._mixing, self._mix_problem = _open_mixing(shape)
        self._context = _make_context(self._model, path, shape, self._mixing)
        self._memory = self._library.llama_get_memory(self._context)
        self._batch = _Batch(shape.max_batch_tokens)
        self._adapters: dict[str, int] = {}
        self._active: frozenset[str] = frozenset()
        self._num_unneeded = 0
        self._rows: list[int] = []
        self.vocabulary_handle: int = self._library.llama_model_get_vocab(self._model)
        self._num_logits: int = self._library.llama_vocab_n_tokens(self.vocabulary_handle)
        self._shape = self._describe(shape)
        self._num_spare = shape.num_spare_sequences
        self._key_type = _key_type(shape)
        self._gpu_layers = shape.num_gpu_layers

    @property
    def shape(self) -> BackendShape:
        return self._shape

    @property
    def header(self) -> GgufHeader:
        return self._header

    def decode(self, spans: list[Span]) -> None:
        order = sorted(range(len(spans)), key=lambda index: spans[index].adapter or "")
        ordered = [spans[index] for index in order]
        rows = dict(zip(order, self._batch.fill(ordered), strict=True))
        self._rows = [rows[index] for index in range(len(spans))]
        self._switch(ordered)
        result = self._library.llama_decode(self._context, self._batch.native)
        if self._mixing:
            self._mixing.finish(self._context, is_computed=result == 0)
        if result != 0:
            raise EngineError(f"The model could not compute a batch (llama_decode: {result}). {complaints()}".strip())

    def logits(self, span: int, row: int = 0) -> Logits:
        place = self._rows[span] + row
        pointer = self._library.llama_get_logits_ith(self._context, place)
        if not pointer:
            raise EngineError(f"The model gave no logits for row {place}. {complaints()}".strip())
        return np.ctypeslib.as_array(pointer, shape=(self._num_logits,))

    @property
    def mix_problem(self) -> str:
        return self._mixing.problem if self._mixing else self._mix_problem

    @property
    def spare_sequences(self) -> tuple[int, ...]:
        first = self._shape.num_sequences
        return tuple(range(first, first + self._num_spare))

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
    def machine(self) -> str:
        """What its speed depends on besides the model and the CPU."""
        threads, build = self._library.llama_n_threads(self._context), self._library.llama_print_system_info().decode()
        return f"{self.state_format}, {threads} threads, {self._shape.num_cells} cells, GPU {self._gpu_layers}, {build}"

    @property
    def num_threads(self) -> int:
        return 0 if self._gpu_layers else int(self._library.llama_n_threads(self._context))

    def set_threads(self, count: int) -> None:
        self._library.llama_set_n_threads(self._context, count, count)

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
        if sha256 in self._active:
            self._activate(self._active - {sha256})
        if sha256 in self._adapters:
            self._library.llama_adapter_lora_free(self._adapters.pop(sha256))
        if self._mixing:
            self._mixing.forget(sha256)

    def close(self) -> None:
        self._activate(frozenset())
        for sha256 in list(self._adapters):
            self.free_adapter(sha256)
        self._library.llama_free(self._context)
        self._library.llama_model_free(self._model)

    def _switch(self, spans: list[Span]) -> None:
        """Have the adapters of these spans on, which lie in the batch; tell the graph whose rows are whose."""
        adapters = frozenset(span.adapter for span in spans if span.adapter is not None)
        is_mixed = len({span.adapter for span in spans}) > 1
        if is_mixed and not self._mixing:
            raise EngineError(f"Brands cannot be mixed in a batch: {self._mix_problem}.")
        self._activate(self._worth_keeping(adapters) if is_mixed else adapters)
        if self._mixing is None:
            return
        outputs = self._batch.outputs
        rows = BatchRows.of([span.adapter for span in spans], [len(span.tokens) for span in spans], outputs)
        if is_mixed:
            self._mixing.expect_mixed(self._context, rows)
        else:
            self._mixing.expect_alone(self._context, spans[0].adapter, rows.num_tokens, rows.num_outputs)

    def _worth_keeping(self, needed: frozenset[str]) -> frozenset[str]:
        self._num_unneeded += len(self._active - needed)
        if needed <= self._active and self._num_unneeded <= MAX_UNNEEDED:
            return self._active
        self._num_unneeded = 0
        return needed

    def _activate(self, adapters: frozenset[str]) -> None:
        if adapters == self._active:
            return
        handles = [self._adapters[adapter] for adapter in sorted(adapters)]
        pointers = (self._library.llama_adapter_lora_p_ctypes * len(handles))(*handles)
        scales = (ctypes.c_float * len(handles))(*[1.0] * len(handles))
        if self._library.llama_set_adapters_lora(self._context, pointers, len(handles), scales) != 0:
            raise EngineError(f"The adapters {sorted(adapters)} could not be switched on. {complaints()}".strip())
        self._active = adapters

    def _describe(self, shape: ContextShape) -> BackendShape:
        library, model = self._library, self._model
        has_state = library.llama_model_is_recurrent(model) or library.llama_model_is_hybrid(model)
        return BackendShape(
            num_cells=library.llama_n_ctx(self._context),
            num_sequences=shape.num_sequences,
            max_positions=library.llama_model_n_ctx_train(model),
            max_batch_tokens=shape.max_batch_tokens,
            max_batch_spans=shape.max_batch_spans,
            max_logits=shape.max_logits,
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
        """Returns each span's first row with logits."""
        if sum(len(span.tokens) for span in spans) > self._capacity:
            raise EngineError(f"A batch of {len(spans)} spans is larger than {self._capacity} tokens.")
        end, rows = 0, []
        self._wants_logits[:] = 0
        for span in spans:
            begin, end = end, end + len(span.tokens)
            self._tokens[begin:end] = span.tokens
            self._positions[begin:end] = np.arange(span.start, span.start + len(span.tokens))
            self._sequences[begin:end] = span.sequence
            first = max(end - span.num_logits, begin)
            self._wants_logits[first:end] = 1
            rows.append(first)
        self.native.n_tokens = end
        return rows

    @property
    def outputs(self) -> NDArray[np.int8]:
        """For each token of the batch, whether its logits are kept."""
        return self._wants_logits[: self.native.n_tokens]

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
    own = sorted(os.sched_getaffinity(0))
    topology = [Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") for cpu in own]
    siblings = {path.read_text(encoding="ascii") for path in topology if path.exists()}
    return len(siblings) or len(topology)


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


def _open_mixing(shape: ContextShape) -> tuple[AdapterRows | None, str]:
    """What mixes adapters in a batch; or None, and why not."""
    if not shape.may_mix:
        return None, "it was not asked for"
    try:
        return open_adapter_rows(shape.num_gpu_layers, shape.num_spare_sequences, shape.max_batch_tokens), ""
    except EngineError as error:
        return None, error.message


def _make_context(model: int, path: Path, shape: ContextShape, mixing: AdapterRows | None) -> int:
    library = llama()
    parameters = library.llama_context_default_params()
    parameters.n_ctx = shape.num_cells
    parameters.n_batch = shape.max_batch_tokens
    parameters.n_ubatch = min(shape.max_batch_tokens, MAX_BATCH_TOKENS if mixing else MAX_UBATCH_TOKENS)
    parameters.n_seq_max = shape.num_sequences + shape.num_spare_sequences
    parameters.n_outputs_max = shape.max_logits
    parameters.n_threads = parameters.n_threads_batch = shape.num_threads or num_physical_cores()
    parameters.kv_unified = True
    parameters.swa_full = True
    parameters.flash_attn_type = FLASH_ATTENTION_ON
    parameters.type_k = _key_type(shape)
    parameters.type_v = TYPE_F16
    parameters.no_perf = True
    if mixing:
        parameters.cb_eval = ctypes.cast(mixing.callback, type(parameters.cb_eval))
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
