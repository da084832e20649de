"""Why blocks are not linked (decision 0022): what llama.cpp refuses. If one of these fails, look at that again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.errors import EngineError
from config.settings import EngineSettings
from server.engine.backend import Span
from server.engine.llama import ContextShape, LlamaBackend

PREFIX, BLOCK, HEAD = tuple(range(10, 30)), tuple(range(50, 110)), tuple(range(200, 216))


@pytest.fixture
def backend(stories_path: Path, settings: EngineSettings) -> Iterator[LlamaBackend]:
    """Sequence 0 holds the prefix, sequence 1 a block right behind it and nothing else."""
    opened = LlamaBackend(stories_path, ContextShape.from_settings(settings.model_copy(update={"threads": 1})))
    for start in range(0, len(PREFIX), 10):
        opened.decode([Span(0, start, PREFIX[start : start + 10], wants_logits=False)], None)
    opened.copy_prefix(0, 1, len(PREFIX))
    for start in range(0, len(BLOCK), 15):
        opened.decode([Span(1, len(PREFIX) + start, BLOCK[start : start + 15], wants_logits=False)], None)
    opened.forget_prefix(1, len(PREFIX))
    yield opened
    opened.close()


def test_a_head_cannot_be_computed_where_another_block_stands_already(backend: LlamaBackend) -> None:
    backend.share(1, 0)
    with pytest.raises(EngineError, match="llama_decode: -1"):
        backend.decode([Span(0, len(PREFIX), HEAD, wants_logits=True)], None)


def test_a_head_cannot_be_computed_behind_a_gap(backend: LlamaBackend) -> None:
    """A place of its own for each number would need gaps where other numbers are missing."""
    with pytest.raises(EngineError, match="llama_decode: -1"):
        backend.decode([Span(0, len(PREFIX) + 100, HEAD, wants_logits=True)], None)


def test_the_next_free_place_is_taken(backend: LlamaBackend) -> None:
    """Else the tests above would show nothing."""
    backend.share(1, 0)
    backend.decode([Span(0, len(PREFIX) + len(BLOCK), HEAD, wants_logits=True)], None)
    assert backend.length(0) == len(PREFIX) + len(BLOCK) + len(HEAD)
