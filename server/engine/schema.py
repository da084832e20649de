"""JSON schemas as token masks, compiled by llguidance within limits. Errors are reported; nothing crashes.

No raw grammar is ever taken from a client: an invalid one kills llama.cpp.
"""

import json
from functools import cached_property
from typing import Any

import numpy as np

from config.errors import BadRequestError
from server.engine.backend import Pieces
from server.engine.sampling import Mask

MAX_SCHEMA_CHARACTERS = 20_000
MAX_GRAMMAR_SYMBOLS = 20_000
MAX_LEXER_STATES = 20_000
WHITESPACE = r"[ \n]{0,4}"
"""Bounded, because small models love to write spaces for ever where they may."""
PARAM = "response_format"


class SchemaMask:
    """The state of one answer inside its schema."""

    def __init__(self, matcher: Any, size: int) -> None:
        self._matcher = matcher
        self._size = size

    def allowed(self) -> Mask:
        """Which tokens may come next. Raises BadRequestError where the schema became too complex."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        return np.unpackbits(bits, bitorder="little")[: self._size].astype(np.bool_)

    def accept(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()

    @property
    def is_complete(self) -> bool:
        """The value is whole and nothing can follow."""
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise BadRequestError(
                f"The JSON schema cannot be followed: {_first_line(self._matcher.get_error())}", PARAM
            )


class SchemaCompiler:
    """One for each vocabulary; its token table is built at first use (a third of a second for 50,000 tokens)."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces

    def compile(self, schema: str) -> SchemaMask:
        """`schema` is JSON text; "{}" means any JSON object. Raises BadRequestError that says what is wrong with it."""
        from llguidance import LLMatcher

        grammar = _grammar(schema)
        problem = LLMatcher.validate_grammar(grammar, self._tokenizer, limits=_limits())
        if problem and not problem.startswith("WARNING"):
            raise BadRequestError(f"The JSON schema is not supported: {_first_line(problem)}", PARAM)
        mask = SchemaMask(LLMatcher(self._tokenizer, grammar, log_level=0, limits=_limits()), self._pieces.size)
        mask.allowed()
        return mask

    @cached_property
    def _tokenizer(self) -> Any:
        from llguidance import LLTokenizer, TokenizerWrapper

        return LLTokenizer(TokenizerWrapper(_TokenTable(self._pieces)), eos_token=sorted(self._pieces.end_tokens))


class _TokenTable:
    """What llguidance asks of a tokenizer: the bytes of each token. Encoding is used for nothing that we need."""

    def __init__(self, pieces: Pieces) -> None:
        self.tokens = [pieces.piece(token) for token in range(pieces.size)]
        self.eos_token_id = min(pieces.end_tokens)
        self.bos_token_id = None
        self.special_token_ids = sorted(pieces.end_tokens)
        self._by_byte = {piece[0]: token for token, piece in enumerate(self.tokens) if len(piece) == 1}

    def __call__(self, text: bytes) -> list[int]:
        return [self._by_byte[byte] for byte in text if byte in self._by_byte]


def _grammar(schema: str) -> str:
    from llguidance import LLMatcher

    if len(schema) > MAX_SCHEMA_CHARACTERS:
        raise BadRequestError(
            f"The JSON schema has {len(schema)} characters; {MAX_SCHEMA_CHARACTERS} are allowed.", PARAM
        )
    try:
        tree = json.loads(schema)
        overrides = {"whitespace_pattern": WHITESPACE, "lenient": False}
        grammar: str = LLMatcher.grammar_from_json_schema(tree or {"type": "object"}, overrides=overrides)
    except (ValueError, RecursionError, TypeError) as error:
        raise BadRequestError(f"The JSON schema cannot be read: {_first_line(str(error))}", PARAM) from error
    return grammar


def _limits() -> Any:
    from llguidance import LLParserLimits

    return LLParserLimits(max_grammar_size=MAX_GRAMMAR_SYMBOLS, max_lexer_states=MAX_LEXER_STATES, verbose_errors=False)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:200]
