"""A tokenizer that one can compute in one's head: a character is a token, and so is a turn marker in a template."""

import re
from collections.abc import Sequence

MARKERS = ("<|im_start|>", "<|im_end|>")
END = MARKERS[1]
FIRST_LETTER = 10
NUM_TOKENS = 64


def encode(text: str, is_template: bool) -> list[int]:
    pieces = re.split(f"({'|'.join(map(re.escape, MARKERS))})", text) if is_template else [text]
    return [token for piece in pieces for token in _piece(piece, is_template)]


def small(text: str, is_template: bool) -> list[int]:
    """The same within a vocabulary of NUM_TOKENS: letters fold onto each other."""
    fold = NUM_TOKENS - FIRST_LETTER
    return [token if token < FIRST_LETTER else FIRST_LETTER + token % fold for token in encode(text, is_template)]


def text_of(tokens: Sequence[int]) -> str:
    return "".join(MARKERS[token] if token < FIRST_LETTER else chr(token - FIRST_LETTER) for token in tokens)


def _piece(piece: str, is_template: bool) -> list[int]:
    if is_template and piece in MARKERS:
        return [MARKERS.index(piece)]
    return [FIRST_LETTER + ord(letter) for letter in piece]
