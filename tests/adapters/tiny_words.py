"""A tiny base that speaks: random weights with a byte-level vocabulary and ChatML turns, so that transformers and
llama.cpp open it as they open a real one.
"""

from pathlib import Path

import gguf
import numpy as np

from tests.adapters.tiny import Tensor

EMBEDDING, HEADS, KV_HEADS, LAYERS, FEED_FORWARD, CONTEXT = 64, 4, 2, 1, 64, 4_096
MARKERS = ("<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'"
    " }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def write_speaking_base(path: Path, num_layers: int = LAYERS, magnitude: float = 0.1) -> Path:
    """Half a megabyte of llama. With several layers a token's cells depend on what it sees; larger weights say more."""
    letters = _byte_letters()
    tokens = [*MARKERS, *letters, letters[ord("t")] + letters[ord("h")]]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(EMBEDDING)
    writer.add_block_count(num_layers)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(EMBEDDING // HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * len(MARKERS) + [gguf.TokenType.NORMAL] * (len(tokens) - 2))
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in _tensors(len(tokens), num_layers, magnitude).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(num_tokens: int, num_layers: int, magnitude: float) -> dict[str, Tensor]:
    chance = np.random.default_rng(0)

    def random(*shape: int) -> Tensor:
        return (chance.standard_normal(shape) * magnitude).astype(np.float32)

    ones, num_key = np.ones(EMBEDDING, np.float32), EMBEDDING // HEADS * KV_HEADS
    tensors = {"token_embd.weight": random(num_tokens, EMBEDDING), "output_norm.weight": ones}
    for layer in range(num_layers):
        tensors |= {
            f"blk.{layer}.attn_norm.weight": ones,
            f"blk.{layer}.ffn_norm.weight": ones,
            f"blk.{layer}.attn_q.weight": random(EMBEDDING, EMBEDDING),
            f"blk.{layer}.attn_k.weight": random(num_key, EMBEDDING),
            f"blk.{layer}.attn_v.weight": random(num_key, EMBEDDING),
            f"blk.{layer}.attn_output.weight": random(EMBEDDING, EMBEDDING),
            f"blk.{layer}.ffn_gate.weight": random(FEED_FORWARD, EMBEDDING),
            f"blk.{layer}.ffn_up.weight": random(FEED_FORWARD, EMBEDDING),
            f"blk.{layer}.ffn_down.weight": random(EMBEDDING, FEED_FORWARD),
        }
    return tensors


def _byte_letters() -> list[str]:
    """The printable character that stands for each byte in a byte-level vocabulary (GPT-2's table)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256)]
