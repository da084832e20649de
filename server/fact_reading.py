"""How the sources of an answer are read: the fastest layout that settings, engine and adapter all allow.

An adapter reads well what it was trained to read, so one that was trained on sources in one piece, or does not say,
gets them so, while others beside it use blocks.
"""

from collections.abc import Iterable

from adapters.version import AdapterVersion
from config.fact_layout import FactLayout, layout_named, slower_of
from config.prompt import Prompt
from config.settings import EngineSettings
from server.candidates import RetrievedSource
from server.engine.messages import Engine
from server.numbering import with_lasting_numbers


def layout_for(adapter: AdapterVersion | None, served: str, settings: EngineSettings) -> FactLayout:
    """served: the engine's own, slower than the settings ask for where the base cannot do that. adapter: None for the
    base alone."""
    own = settings.base_fact_layout if adapter is None else adapter.fact_layout
    return slower_of(layout_named(served), own)


def anybody_reads_blocks(versions: Iterable[AdapterVersion], settings: EngineSettings) -> bool:
    """Whether any voice could: else computing blocks ahead of use is for nobody."""
    is_trained = any(version.fact_layout == "blocks" and not version.retirement for version in versions)
    return settings.fact_layout == "blocks" and (settings.base_fact_layout == "blocks" or is_trained)


class FactReading:
    """`layout_for` with the engine that runs now, and what follows from it. Thread-safe."""

    def __init__(self, engine: Engine, settings: EngineSettings) -> None:
        self._engine = engine
        self._settings = settings

    def layout_for(self, adapter: AdapterVersion | None) -> FactLayout:
        return layout_for(adapter, self._engine.status().facts.layout, self._settings)

    def numbered(
        self, sources: tuple[RetrievedSource, ...], adapter: AdapterVersion | None
    ) -> tuple[RetrievedSource, ...]:
        """By rank; where they are read as blocks, so that a block is known again."""
        return with_lasting_numbers(sources) if self.layout_for(adapter) == "blocks" else sources

    def bounds_in(self, prompt: Prompt, adapter: AdapterVersion | None) -> tuple[int, ...]:
        """For `GenerateRequest.fact_bounds`; none where the prompt is to be read in one piece."""
        return prompt.fact_bounds if self.layout_for(adapter) == "blocks" else ()
