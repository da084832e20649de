"""The base model's vocabulary: text to tokens and tokens to bytes, without loading any weights."""

import ctypes
from dataclasses import dataclass, field
from pathlib import Path

from config.errors import ModelError
from config.gguf_header import read_header
from server.engine.native import complaints, llama

MAX_PIECE_BYTES = 1_024
UNKNOWN_CONTEXT = 2_048
_NEWLINE = "\n"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Thread-safe and read-only after `open`.

    end_tokens: tokens that end an answer (EOS, end of turn, ...). chat_template: Jinja text, "" where there is none.
    add_bos: prompts of this model start with the BOS token; `encode` never adds it. context_length: in tokens, as
    trained.
    """

    path: Path
    size: int
    architecture: str
    context_length: int
    chat_template: str
    bos_token: int | None
    bos_text: str
    eos_text: str
    add_bos: bool
    end_tokens: frozenset[int]
    _model: int = field(repr=False)
    _vocabulary: int = field(repr=False)
    _adds_space: bool = field(repr=False)
    _pieces: dict[int, bytes] = field(repr=False, default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> "Vocabulary":
        """Raises ModelError where the file is missing, damaged or not a language model."""
        header = read_header(path)
        library = llama()
        parameters = library.llama_model_default_params()
        parameters.vocab_only = True
        model = library.llama_model_load_from_file(str(path).encode(), parameters)
        if not model:
            raise ModelError(f"{path} holds no vocabulary that can be read. {complaints()}".strip())
        handle = library.llama_model_get_vocab(model)
        size = library.llama_vocab_n_tokens(handle)
        bos, eos = library.llama_vocab_bos(handle), library.llama_vocab_eos(handle)
        return cls(
            path=path,
            size=size,
            architecture=header.architecture,
            context_length=header.number(f"{header.architecture}.context_length", UNKNOWN_CONTEXT),
            chat_template=header.text("tokenizer.chat_template"),
            bos_token=bos if bos >= 0 else None,
            bos_text=_token_text(handle, bos),
            eos_text=_token_text(handle, eos),
            add_bos=bool(library.llama_vocab_get_add_bos(handle)),
            end_tokens=frozenset(token for token in range(size) if library.llama_vocab_is_eog(handle, token)),
            _model=model,
            _vocabulary=handle,
            _adds_space=_adds_space(handle),
        )

    def encode(self, text: str, is_template: bool = False, *, is_start: bool = False) -> list[int]:
        """Token ids without BOS. Marker text becomes special tokens only where `is_template`.

        SentencePiece vocabularies put a space before the text they are given. A prompt is encoded in segments, and a
        segment inside a prompt must not grow one, so it is kept only at the start of a prompt (`is_start`) and behind
        a special token, as the models were trained.
        """
        if not text:
            return []
        tokens = _tokenize(self._vocabulary, text, is_template)
        if not self._adds_space or is_start or (is_template and self._is_control(tokens[0])):
            return tokens
        return self._without_space(text, is_template, tokens)

    def count(self, text: str) -> int:
        """How many tokens `encode` gives, without fetching them."""
        return len(self.encode(text)) if self._adds_space or not text else _count(self._vocabulary, text)

    def piece(self, token: int) -> bytes:
        """The token's bytes, not always whole characters; b"" for control tokens. Raises IndexError out of range."""
        if token not in self._pieces:
            if not 0 <= token < self.size:
                raise IndexError(f"token {token} is not in 0..{self.size - 1}")
            self._pieces[token] = _piece(self._vocabulary, token, is_special_shown=False)
        return self._pieces[token]

    def _without_space(self, text: str, is_template: bool, tokens: list[int]) -> list[int]:
        """Encode behind a line break, which merges with nothing in these vocabularies, and cut it off again."""
        lead = _tokenize(self._vocabulary, _NEWLINE, is_template)
        longer = _tokenize(self._vocabulary, _NEWLINE + text, is_template)
        return longer[len(lead) :] if longer[: len(lead)] == lead else tokens

    def _is_control(self, token: int) -> bool:
        return bool(llama().llama_vocab_is_control(self._vocabulary, token))


def _tokenize(handle: int, text: str, is_template: bool) -> list[int]:
    encoded = text.encode("utf-8", "replace")
    capacity = len(encoded) + 8
    while True:
        buffer = (ctypes.c_int32 * capacity)()
        count = llama().llama_tokenize(handle, encoded, len(encoded), buffer, capacity, False, is_template)
        if count >= 0:
            return buffer[:count]
        capacity = -count


def _count(handle: int, text: str) -> int:
    """With no room for tokens, llama_tokenize says how many there would be, as a negative number."""
    encoded = text.encode("utf-8", "replace")
    return -int(llama().llama_tokenize(handle, encoded, len(encoded), None, 0, False, False))


def _piece(handle: int, token: int, *, is_special_shown: bool) -> bytes:
    buffer = ctypes.create_string_buffer(MAX_PIECE_BYTES)
    count = llama().llama_token_to_piece(handle, token, buffer, MAX_PIECE_BYTES, 0, is_special_shown)
    if count < 0:
        raise ModelError(f"Token {token} is {-count} bytes long; at most {MAX_PIECE_BYTES} are read.")
    return buffer.raw[:count]


def _token_text(handle: int, token: int) -> str:
    return _piece(handle, token, is_special_shown=True).decode("utf-8", "replace") if token >= 0 else ""


def _adds_space(handle: int) -> bool:
    tokens = _tokenize(handle, "a", is_template=False)
    return bool(tokens) and _piece(handle, tokens[0], is_special_shown=False).startswith(b" ")
