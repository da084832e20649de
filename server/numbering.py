"""Numbers that stay with a retrieved source: those of `config.numbering`, by the chunks that it holds."""

from collections.abc import Sequence
from dataclasses import replace

from config.numbering import lasting_numbers
from server.candidates import RetrievedSource


def with_lasting_numbers(sources: Sequence[RetrievedSource]) -> tuple[RetrievedSource, ...]:
    """The same sources in the same order, with numbers that depend on what they are rather than on their rank."""
    numbers = lasting_numbers(["\n".join(chunk.chunk_id for chunk in source.chunks) for source in sources])
    return tuple(replace(source, number=number) for source, number in zip(sources, numbers, strict=True))
