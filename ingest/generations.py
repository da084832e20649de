"""The live index generation and the switch to another: what the server and the command line hold in place of a store.

Whoever searches borrows the live generation (`using`) and keeps it to the end of their work, also over a switch; a
generation that was switched away from is closed when the last borrower has given it back. Whoever writes waits for
other writers, so nothing is written to a generation that is no longer live.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from config.datadir import DataDirectory
from config.errors import BadRequestError, ModelError
from config.settings import IngestSettings
from ingest.access.reader import ADMIN, Reader, Requirement
from ingest.access.rules import Rule
from ingest.documents import Chunk, Document, Embedder, Failure, IngestReport, Parity, Progress
from ingest.embedders import EmbedderShelf, MissingEmbedder
from ingest.generation import Card, IndexFolder, recipe_of
from ingest.old_layout import mark_new_layout, move_old_layout
from ingest.origins import Origin
from ingest.quarantine import Held
from ingest.runs import Run
from ingest.store import FactStore

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Generation:
    """An open one. `num_users` borrow it now; a retired one is closed with the last of them."""

    card: Card
    store: FactStore
    num_users: int = 0
    is_retired: bool = False

    @property
    def number(self) -> int:
        return self.card.number


class IndexGenerations:
    """All generations of one data directory, one of them live. Thread-safe. The caller owns the directory.

    wanted: what a rebuild would make now.
    """

    def __init__(
        self,
        data: DataDirectory,
        settings: IngestSettings,
        shelf: EmbedderShelf,
        count_tokens: Callable[[str], int],
        *,
        needs_embedder: bool,
    ) -> None:
        self.data = data
        self.folder = IndexFolder(data)
        self.shelf = shelf
        self._settings = settings
        self._count_tokens = count_tokens
        self.wanted = recipe_of(shelf.configured.identity, settings.chunk_tokens, count_tokens)
        self._lock = threading.Lock()
        self._writing = threading.RLock()
        self._ruling = threading.RLock()
        self._live = self.open_one(self._first_number(), needs_embedder=needs_embedder)

    @staticmethod
    def open(
        data: DataDirectory,
        settings: IngestSettings,
        shelf: EmbedderShelf,
        count_tokens: Callable[[str], int],
        *,
        needs_embedder: bool = True,
    ) -> "IndexGenerations":
        """Open the live generation, or make the first; an index of the releases before generations is moved first.

        needs_embedder: False opens one whose embedder is gone too, for rebuilding from it. Else that is a ModelError.
        """
        data.create()
        generations = IndexGenerations(data, settings, shelf, count_tokens, needs_embedder=needs_embedder)
        for difference in generations.differences:
            logger.warning("Index generation %d is not what the settings ask for: %s.", generations.number, difference)
        return generations

    def _first_number(self) -> int:
        """Of the generation to open; moves or makes what is not there yet."""
        move_old_layout(self.data, self.folder, self.wanted, self.shelf.source)
        self.folder.sweep()
        number = self.folder.current()
        if number is None:
            mark_new_layout(self.data)
            number = self.folder.create(self.wanted, self.shelf.source).number
            self.folder.complete(number, {})
            self.folder.make_current(number)
        return number

    @property
    def number(self) -> int:
        """Of the live generation."""
        return self._live.number

    @property
    def differences(self) -> list[str]:
        """In what the live generation is not what the settings ask for. It serves on; `housevoice index rebuild`."""
        return self._live.card.recipe.differences(self.wanted)

    @property
    def live(self) -> FactStore:
        """For a process that switches nothing itself; others use `using`."""
        return self._live.store

    @contextmanager
    def using(self) -> Iterator[Generation]:
        """The live generation, open to the end of the block whatever happens meanwhile."""
        with self._lock:
            generation = self._live
            generation.num_users += 1
        try:
            yield generation
        finally:
            with self._lock:
                generation.num_users -= 1
                is_last = generation.is_retired and not generation.num_users
            if is_last:
                generation.store.close()

    @contextmanager
    def writing(self) -> Iterator[Generation]:
        """The live generation, which stays live to the end of the block; one writer at a time."""
        with self._writing, self.using() as generation:
            yield generation

    @contextmanager
    def ruling(self) -> Iterator[Generation]:
        """The live generation, for rules that act at once: they wait for no run, only for a switch."""
        with self._ruling, self.using() as generation:
            yield generation

    def open_one(self, number: int, *, needs_embedder: bool = True) -> Generation:
        """Open a generation that is not open yet, with the embedder and sizes that it was built with."""
        card = self.folder.card(number)
        embedder = self._embedder(card, needs_embedder)
        settings = self._settings.model_copy(update={"chunk_tokens": card.recipe.chunk_tokens})
        store = FactStore.open(
            self.folder.folder(number), settings, embedder, self._count_tokens, files=self.data, keeps_older=True
        )
        return Generation(card, store)

    def switch(self, to: Generation) -> None:
        """Make an open, complete generation live: on disk first, then for the next borrower. Inside `writing`."""
        if not to.card.is_complete:
            raise BadRequestError(f"Index generation {to.number} is not complete.", "number")
        self.folder.make_current(to.number)
        with self._lock:
            before, self._live = self._live, to
            before.is_retired = True
            is_unused = not before.num_users
        if is_unused:
            before.store.close()
        logger.warning("Index generation %d is live, in place of %d.", to.number, before.number)

    def _embedder(self, card: Card, is_needed: bool) -> Embedder:
        try:
            return self.shelf.find(card)
        except ModelError:
            if is_needed:
                raise
            return MissingEmbedder(card.recipe.embedder)

    # The part of `FactStore` that does not care which generation answers.

    def recover(self) -> None:
        """Once, at the start of the process that owns the data directory."""
        self._live.store.recover()

    def ingest(
        self,
        source: Path,
        knowledge_base: str,
        *,
        dry_run: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> IngestReport:
        with self.writing() as live:
            return live.store.ingest(source, knowledge_base, dry_run=dry_run, on_progress=on_progress)

    def ingest_from(
        self,
        origin: Origin,
        knowledge_base: str,
        *,
        dry_run: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> IngestReport:
        with self.writing() as live:
            return live.store.ingest_from(origin, knowledge_base, dry_run=dry_run, on_progress=on_progress)

    def runs(self, limit: int = 20) -> list[Run]:
        with self.using() as live:
            return live.store.runs(limit)

    def run(self, run_id: str) -> Run:
        """Raises NotFoundError."""
        with self.using() as live:
            return live.store.run(run_id)

    def root_of(self, document_id: str) -> str:
        with self.using() as live:
            return live.store.root_of(document_id)

    def remove(self, knowledge_base: str, path: str | None = None) -> int:
        with self.writing() as live:
            return live.store.remove(knowledge_base, path)

    def documents(self, knowledge_base: str | None = None, reader: Reader = ADMIN) -> list[Document]:
        with self.using() as live:
            return live.store.documents(knowledge_base, reader)

    def document(self, document_id: str) -> Document:
        """Raises NotFoundError."""
        with self.using() as live:
            return live.store.document(document_id)

    def readable_document(self, document_id: str, knowledge_bases: tuple[str, ...], reader: Reader) -> Document:
        with self.using() as live:
            return live.store.readable_document(document_id, knowledge_bases, reader)

    def requirements(self, document_ids: Sequence[str]) -> dict[str, Requirement]:
        with self.using() as live:
            return live.store.requirements(document_ids)

    def access_rules(self, knowledge_base: str | None = None) -> list[Rule]:
        with self.using() as live:
            return live.store.access_rules(knowledge_base)

    def restrict(self, knowledge_base: str, groups: tuple[str, ...]) -> None:
        with self.ruling() as live:
            live.store.restrict(knowledge_base, groups)

    def clear_access(self, rules: Sequence[Rule]) -> None:
        with self.ruling() as live:
            live.store.clear_access(rules)

    def quarantine(self, knowledge_base: str, path: str, note: str = "") -> Held:
        with self.ruling() as live:
            return live.store.quarantine(knowledge_base, path, note)

    def lift_quarantine(self, knowledge_base: str, path: str) -> None:
        with self.ruling() as live:
            live.store.lift_quarantine(knowledge_base, path)

    def quarantined(self, knowledge_base: str | None = None) -> list[Held]:
        with self.using() as live:
            return live.store.quarantined(knowledge_base)

    def documents_by_id(self, document_ids: Sequence[str]) -> dict[str, Document]:
        with self.using() as live:
            return live.store.documents_by_id(document_ids)

    def chunks(self, chunk_ids: Sequence[str]) -> dict[str, Chunk]:
        with self.using() as live:
            return live.store.chunks(chunk_ids)

    def chunks_of(self, document_id: str) -> list[Chunk]:
        with self.using() as live:
            return live.store.chunks_of(document_id)

    def failures(self, knowledge_base: str | None = None) -> list[Failure]:
        with self.using() as live:
            return live.store.failures(knowledge_base)

    def knowledge_bases(self) -> list[str]:
        with self.using() as live:
            return live.store.knowledge_bases()

    def check_parity(self, sample: int = 50) -> Parity:
        with self.using() as live:
            return live.store.check_parity(sample)

    def close(self) -> None:
        """Wait for a running writer, then release all files."""
        with self._writing:
            self._live.store.close()
