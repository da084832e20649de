"""Drafts on real models: what several rows of one sequence give is what one row after the other gives."""

from pathlib import Path

import numpy as np

from server.engine.backend import Span
from server.engine.llama import ContextShape, LlamaBackend


def test_the_logits_of_several_rows_are_those_of_one_after_the_other(stories_path: Path) -> None:
    backend = LlamaBackend(stories_path, ContextShape(128, 3, 64, 3, num_threads=1))
    prompt, tokens = tuple(range(10, 30)), (50, 60, 70)
    for sequence in range(2):
        backend.decode([Span(sequence, 0, prompt, wants_logits=False)], None)
    single = []
    for position, token in enumerate(tokens, len(prompt)):
        backend.decode([Span(0, position, (token,), wants_logits=True)], None)
        single.append(backend.logits(0).copy())
    other = Span(2, 0, (5,), wants_logits=True)
    backend.decode([other, Span(1, len(prompt), tokens, wants_logits=True, num_drafts=2)], None)
    several = [backend.logits(1, row).copy() for row in range(3)]
    backend.close()
    assert np.array_equal(np.stack(several), np.stack(single))
