"""Which embedder belongs to a generation: the configured one, or the one that it was built with."""

from collections.abc import Callable

from config.errors import HousevoiceError, ModelError
from ingest.documents import Embedder, Vectors
from ingest.generation import Card

LoadEmbedder = Callable[[str], Embedder]
"""From a source, as in models.embedder. Raises ModelError."""


class EmbedderShelf:
    """Loads each source once. `source` is the configured one."""

    def __init__(self, source: str, load: LoadEmbedder) -> None:
        self.source = source
        self._load = load
        self._loaded: dict[str, Embedder] = {}

    @property
    def configured(self) -> Embedder:
        return self._get(self.source)

    def find(self, card: Card) -> Embedder:
        """The generation's own embedder. Raises ModelError where it can no longer be had."""
        if card.recipe.embedder == self.configured.identity:
            return self.configured
        found = self._try(card.embedder_source)
        if found is not None and found.identity == card.recipe.embedder:
            return found
        raise ModelError(
            f"Index generation {card.number} was built with the embedder {card.recipe.embedder!r}, which"
            f" {card.embedder_source or 'models.embedder'!r} no longer gives.",
            "Set models.embedder back to it, or stop the server and run housevoice index rebuild.",
        )

    def _get(self, source: str) -> Embedder:
        if source not in self._loaded:
            self._loaded[source] = self._load(source)
        return self._loaded[source]

    def _try(self, source: str) -> Embedder | None:
        try:
            return self._get(source) if source else None
        except HousevoiceError:
            return None


class MissingEmbedder:
    """Stands for an embedder that is gone: its generation can be read and rebuilt from, not searched by meaning."""

    dimensions = 0
    max_tokens = 256

    def __init__(self, identity: str) -> None:
        self.identity = identity

    def embed(self, texts: list[str]) -> Vectors:
        """Raises ModelError always."""
        raise ModelError(f"The embedder {self.identity!r} is not available.", "Run housevoice index rebuild.")

    def count_tokens(self, text: str) -> int:
        """Raises ModelError always."""
        raise ModelError(f"The embedder {self.identity!r} is not available.", "Run housevoice index rebuild.")
