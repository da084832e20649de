"""The served GGUF itself, opened for training: its weights, its tokenizer and its turn format.

Loading the very file that is served means no second download and no gap between the trained and the served base.
"""

import io
import os
import time
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from adapters.training.quantised import quantise
from adapters.training.recipe import BaseBits, Precision
from config.chat_template import turn_format_from_template
from config.errors import ModelError
from config.gguf_header import GgufHeader, read_header
from config.prompt import Encode, TurnFormat

BOS_PRE_TOKENIZERS = ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1")
"""llama.cpp puts BOS before these byte-pair vocabularies where the file does not say."""
TIMED_SHAPE = (256, 1024)
MIN_GAIN = 1.3


@dataclass(frozen=True, slots=True)
class TrainingBase:
    """A frozen causal language model of transformers (`model`), and how text becomes its tokens.

    `encode` gives the ids that the server's vocabulary gives for the same segment.
    """

    path: Path
    model: Any
    encode: Encode
    turn_format: TurnFormat
    device: torch.device
    dtype: torch.dtype


def load_base(
    path: Path, precision: Precision = "auto", threads: int = 0, base_bits: BaseBits = "full"
) -> TrainingBase:
    """Dequantise a GGUF into memory, on a GPU where there is one.

    Raises ModelError where transformers cannot read this architecture or file, or for nf4 where that cannot be.
    """
    header = read_header(path)
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    device = choose_device()
    dtype = choose_dtype(precision, device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    except (ValueError, KeyError, NotImplementedError, OSError, RuntimeError) as error:
        raise _cannot_open(header, error) from error
    model = load_model(path, dtype)
    if base_bits == "nf4":
        quantise(model, device)
    return TrainingBase(
        path=path,
        model=model.to(device),
        encode=_encoder(tokenizer),
        turn_format=_turn_format(header, tokenizer),
        device=device,
        dtype=dtype,
    )


def load_model(path: Path, dtype: torch.dtype) -> Any:
    """The frozen weights alone, on the CPU. Raises ModelError."""
    disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):  # one of its progress bars cannot be switched off
            model = AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=dtype)
    except (ValueError, KeyError, NotImplementedError, OSError, RuntimeError) as error:
        raise _cannot_open(read_header(path), error) from error
    return model.requires_grad_(requires_grad=False)


def _cannot_open(header: GgufHeader, error: Exception) -> ModelError:
    return ModelError(
        f"{header.path.name} ({header.architecture}) cannot be opened for training: {error}.",
        "Train on a base of the llama, mistral, qwen2, qwen3, gemma2 or gemma3 family.",
    )


def choose_device() -> torch.device:
    """The one place where it is chosen."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_window(base: TrainingBase) -> bool:
    """Whether some of its layers look back over a sliding window only: such a base is never served in fact blocks."""
    config = base.model.config
    kinds = getattr(config, "layer_types", None)
    return "sliding_attention" in kinds if kinds else bool(getattr(config, "sliding_window", None))


def precision_of(base: TrainingBase) -> Precision:
    return "bfloat16" if base.dtype is torch.bfloat16 else "float32"


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """bfloat16 halves memory, but a CPU without units for it emulates it and trains nine times slower."""
    if precision != "auto":
        return torch.float32 if precision == "float32" else torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    is_faster = _seconds(torch.bfloat16, device) * MIN_GAIN < _seconds(torch.float32, device)
    return torch.bfloat16 if is_faster else torch.float32


def _seconds(dtype: torch.dtype, device: torch.device) -> float:
    """The best of three products of a typical layer's shape, after one to warm up."""
    rows = torch.ones(TIMED_SHAPE, dtype=dtype, device=device)
    weights = torch.ones((TIMED_SHAPE[1], TIMED_SHAPE[1]), dtype=dtype, device=device)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        (rows @ weights).sum().item()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _encoder(tokenizer: Any) -> Encode:
    def encode(text: str, is_template: bool) -> list[int]:
        tokens: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=not is_template)
        return tokens

    return encode


def _turn_format(header: GgufHeader, tokenizer: Any) -> TurnFormat:
    return turn_format_from_template(
        header.text("tokenizer.chat_template"),
        str(tokenizer.bos_token or ""),
        str(tokenizer.eos_token or ""),
        add_bos=_adds_bos(header),
    )


def _adds_bos(header: GgufHeader) -> bool:
    """As llama.cpp decides: what the file says, else by the kind of vocabulary."""
    said = header.metadata.get("tokenizer.ggml.add_bos_token")
    if isinstance(said, bool):
        return said
    is_sentence_piece = header.text("tokenizer.ggml.model") == "llama"
    return is_sentence_piece or header.text("tokenizer.ggml.pre") in BOS_PRE_TOKENIZERS
