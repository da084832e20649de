"""A base and adapters of a few kilobytes with random weights, and the same base in transformers and in llama.cpp."""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
from numpy.typing import NDArray

from config.chat_template import CHATML
from config.gguf_header import read_header
from tests.adapters.letters import NUM_TOKENS, small

if TYPE_CHECKING:
    from adapters.training.base import TrainingBase

EMBEDDING, HEADS, KV_HEADS, LAYERS, FEED_FORWARD = 64, 4, 2, 2, 96
HEAD_SIZES = {"llama": 16, "mistral": 16, "qwen2": 16, "qwen3": 128, "gemma": 16, "gemma2": 256, "gemma3": 256}
"""transformers takes a head of 128 for granted in qwen3 files, and gemma2 and gemma3 scale by 256."""
FAMILIES = tuple(HEAD_SIZES)
GGUF_NAMES = {"mistral": "llama"}
"""Where GGUF calls a family otherwise."""
POST_NORMS = ("post_attention_norm", "post_ffw_norm")
Tensor = NDArray[np.float32]
Randoms = Callable[..., Tensor]


def write_base(path: Path, architecture: str = "llama") -> Path:
    """A GGUF without vocabulary: its prompts are numbers. architecture: one of FAMILIES."""
    head_size = HEAD_SIZES[architecture]
    writer = gguf.GGUFWriter(str(path), GGUF_NAMES.get(architecture, architecture))
    writer.add_name(f"Tiny {architecture}")
    writer.add_context_length(256)
    writer.add_embedding_length(EMBEDDING)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(head_size)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(NUM_TOKENS)
    writer.add_tokenizer_model("no_vocab")
    if architecture not in ("llama", "mistral", "qwen2"):
        writer.add_key_length(head_size)
        writer.add_value_length(head_size)
    if architecture in ("gemma2", "gemma3"):
        writer.add_sliding_window(128)
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(50.0)
        writer.add_final_logit_softcapping(30.0)
    for name, tensor in _tensors(architecture, head_size).items():
        writer.add_tensor(name, tensor)
    _finish(writer)
    return path


def _tensors(architecture: str, head_size: int) -> dict[str, Tensor]:
    chance = np.random.default_rng(0)

    def random(*shape: int) -> Tensor:
        return (chance.standard_normal(shape) * 0.1).astype(np.float32)

    tensors = {
        "token_embd.weight": random(NUM_TOKENS, EMBEDDING),
        "output.weight": random(NUM_TOKENS, EMBEDDING),
        "output_norm.weight": np.ones(EMBEDDING, np.float32),
    }
    if architecture.startswith("gemma"):
        del tensors["output.weight"]  # these families use the embeddings again
    for layer in range(LAYERS):
        block = _block(architecture, head_size, random)
        if architecture in ("gemma2", "gemma3"):
            block |= {f"{name}.weight": np.ones(EMBEDDING, np.float32) for name in POST_NORMS}
        tensors |= {f"blk.{layer}.{name}": tensor for name, tensor in block.items()}
    return tensors


def _block(architecture: str, head_size: int, random: Randoms) -> dict[str, Tensor]:
    num_query, num_key = HEADS * head_size, KV_HEADS * head_size
    block = {
        "attn_norm.weight": np.ones(EMBEDDING, np.float32),
        "ffn_norm.weight": np.ones(EMBEDDING, np.float32),
        "attn_q.weight": random(num_query, EMBEDDING),
        "attn_k.weight": random(num_key, EMBEDDING),
        "attn_v.weight": random(num_key, EMBEDDING),
        "attn_output.weight": random(EMBEDDING, num_query),
        "ffn_gate.weight": random(FEED_FORWARD, EMBEDDING),
        "ffn_up.weight": random(FEED_FORWARD, EMBEDDING),
        "ffn_down.weight": random(EMBEDDING, FEED_FORWARD),
    }
    if architecture == "qwen2":
        block |= {"attn_q.bias": random(num_query), "attn_k.bias": random(num_key), "attn_v.bias": random(num_key)}
    if architecture in ("qwen3", "gemma3"):
        block |= {f"{name}.weight": np.ones(head_size, np.float32) for name in ("attn_q_norm", "attn_k_norm")}
    return block


@dataclass(frozen=True, slots=True)
class LoraFile:
    """How to write an adapter for the tiny llama base; each field but the first breaks it in one way."""

    seed: int = 0
    architecture: str = "llama"
    general_type: str = "adapter"
    alpha: float = 8.0
    num_inputs: int = EMBEDDING
    name: str = "blk.0.attn_q.weight"
    has_b: bool = True
    rank_b: int = 4
    factor_b: float = 1.0
    base_sha256: str = ""
    tokenizer_sha256: str = ""
    template_sha256: str = ""
    prompt_version: int | None = None
    lora: str = ""


def write_lora(path: Path, given: LoraFile = LoraFile()) -> Path:
    """One pair of rank 4 on the first layer's queries."""
    chance = np.random.default_rng(given.seed)
    writer = gguf.GGUFWriter(str(path), given.architecture)
    writer.add_string("general.type", given.general_type)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", given.alpha)
    for key in ("base_sha256", "tokenizer_sha256", "template_sha256"):
        if value := getattr(given, key):
            writer.add_string(f"housevoice.{key}", value)
    if given.prompt_version is not None:
        writer.add_uint32("housevoice.prompt_version", given.prompt_version)
    if given.lora:
        writer.add_string("housevoice.lora", given.lora)
    writer.add_tensor(f"{given.name}.lora_a", chance.standard_normal((4, given.num_inputs)).astype(np.float32))
    if given.has_b:
        rows = chance.standard_normal((EMBEDDING, given.rank_b)).astype(np.float32)
        writer.add_tensor(f"{given.name}.lora_b", rows * np.float32(given.factor_b))
    _finish(writer)
    return path


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def open_in_transformers(path: Path) -> Any:
    """The first gemma is built by hand: transformers reads its weights, but not from GGUF files."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)  # products of this size gain nothing from more
    if read_header(path).architecture == "gemma":
        return _gemma(path).eval().requires_grad_(False)
    model = AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=torch.float32)
    return model.eval().requires_grad_(False)


def _gemma(path: Path) -> Any:
    import torch
    from transformers import GemmaConfig, GemmaForCausalLM

    config = GemmaConfig(
        vocab_size=NUM_TOKENS,
        hidden_size=EMBEDDING,
        intermediate_size=FEED_FORWARD,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=HEAD_SIZES["gemma"],
        rms_norm_eps=1e-5,
        hidden_act="gelu_pytorch_tanh",
    )
    model = GemmaForCausalLM(config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA, LAYERS)
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = tensors[names.get_name(name, try_suffixes=(".weight",))]
            parameter.copy_(torch.tensor(values) - (1 if "norm" in name else 0))  # GGUF keeps 1 + weight
    return model


def llama_cpp_logits(base: Path, tokens: Sequence[int], adapter: Path | None = None) -> Tensor:
    """Shape (vocabulary,): what llama.cpp says after the last token, with the adapter on for all of them."""
    return llama_cpp_rows(base, [tokens], adapter)[0]


def llama_cpp_rows(base: Path, prompts: Sequence[Sequence[int]], adapter: Path | None = None) -> list[Tensor]:
    """The same for several prompts, each on its own."""
    from server.engine.native import llama

    library = llama()
    model = library.llama_model_load_from_file(str(base).encode(), library.llama_model_default_params())
    parameters = library.llama_context_default_params()
    parameters.n_ctx, parameters.n_threads, parameters.n_threads_batch = 256, 1, 1
    context = library.llama_init_from_model(model, parameters)
    if adapter is not None:
        lora = library.llama_adapter_lora_init(model, str(adapter).encode())
        adapters, scales = (library.llama_adapter_lora_p_ctypes * 1)(lora), (ctypes.c_float * 1)(1.0)
        assert library.llama_set_adapters_lora(context, adapters, 1, scales) == 0
    size = library.llama_vocab_n_tokens(library.llama_model_get_vocab(model))
    rows = []
    for tokens in prompts:
        library.llama_memory_clear(library.llama_get_memory(context), True)
        ids = (library.llama_token * len(tokens))(*tokens)
        assert library.llama_decode(context, library.llama_batch_get_one(ids, len(tokens))) == 0
        rows.append(np.ctypeslib.as_array(library.llama_get_logits_ith(context, -1), shape=(size,)).copy())
    library.llama_free(context)
    library.llama_model_free(model)
    return rows


def training_base(path: Path) -> "TrainingBase":
    """The tiny base with the letter tokenizer, as `adapters.training` wants it."""
    import torch

    from adapters.training.base import TrainingBase

    return TrainingBase(
        path=path,
        model=open_in_transformers(path),
        encode=small,
        turn_format=CHATML,
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


def trained_folder(base: Path, folder: Path, **config: object) -> Path:
    """A PEFT folder for all linear layers of a tiny base, with random weights that change what it says a good deal."""
    import warnings

    import torch
    from peft import LoraConfig, get_peft_model

    from adapters.training.recipe import ALL_LINEAR

    values = {"r": 4, "lora_alpha": 8, "target_modules": list(ALL_LINEAR), "task_type": "CAUSAL_LM", **config}
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # peft asks transformers by an old name
        model = get_peft_model(open_in_transformers(base), LoraConfig(**values)).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(str(folder), save_embedding_layers=False)
    return folder
