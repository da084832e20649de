"""A base of half a megabyte with random weights and a vocabulary: it writes letters, and tokens cost next to nothing.

Only letters have an output row, so every answer is text, and each is said with a clear lead before the next.
"""

from pathlib import Path

import gguf
import numpy as np

BYTES, LETTERS = 256, "abcdefghijklmnopqrstuvwxyz"
TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{number:02X}>" for number in range(BYTES)), "\u2581", *LETTERS]
UNKNOWN, CONTROL, BYTE, NORMAL = 2, 3, 6, 1
WIDTH, HEADS, LAYERS, FEED_FORWARD = 64, 4, 2, 96
LEAD = 4.0
"""Spread of the letters' logits."""


def write_tiny_base(path: Path, seed: int = 0) -> Path:
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(2_048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(TOKENS))
    _add_vocabulary(writer)
    for name, tensor in _tensors(seed).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: gguf.GGUFWriter) -> None:
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_types([UNKNOWN, CONTROL, CONTROL, *[BYTE] * BYTES, *[NORMAL] * (1 + len(LETTERS))])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)


def _tensors(seed: int) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(seed)

    def random(*shape: int, scale: float = 0.2) -> np.ndarray:
        return (chance.standard_normal(shape) * scale).astype(np.float32)

    output = np.zeros((len(TOKENS), WIDTH), np.float32)
    output[-len(LETTERS) :] = random(len(LETTERS), WIDTH, scale=LEAD / WIDTH**0.5)
    tensors = {
        "token_embd.weight": random(len(TOKENS), WIDTH, scale=1.0),
        "output.weight": output,
        "output_norm.weight": np.ones(WIDTH, np.float32),
    }
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"blk.{layer}.{name}.weight"] = random(WIDTH, WIDTH)
        for name in ("ffn_gate", "ffn_up"):
            tensors[f"blk.{layer}.{name}.weight"] = random(FEED_FORWARD, WIDTH)
        tensors[f"blk.{layer}.ffn_down.weight"] = random(WIDTH, FEED_FORWARD)
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{name}.weight"] = np.ones(WIDTH, np.float32)
    return tensors
