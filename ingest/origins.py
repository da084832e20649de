"""Where documents come from: the seam between the ways in (folders, uploads, web pages) and a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ingest.documents import IngestReport, Progress
from ingest.patterns import Selection
from ingest.scan import Source, find_source

OnProgress = Callable[[Progress], None]


class Origin(Protocol):
    """One of a run's own: made for it, and thrown away after it."""

    @property
    def label(self) -> str:
        """What a person would call it: a path, an address."""

    def find(self, known_roots: Sequence[str], on_progress: OnProgress) -> Source:
        """What there is now. known_roots: of everything in the knowledge base. Raises BadRequestError for nothing.

        May fetch and keep files of its own, even in a dry run; never touches the index.
        """

    def settle(self, report: IngestReport) -> None:
        """The run is over and its report final; not called for a dry run or one that was interrupted."""


@dataclass(frozen=True, slots=True)
class FolderOrigin:
    """A folder as far as `selection` goes, or one file, whatever the selection says."""

    path: Path
    selection: Selection

    @property
    def label(self) -> str:
        return str(self.path)

    def find(self, known_roots: Sequence[str], on_progress: OnProgress) -> Source:
        return find_source(self.path, self.selection, known_roots)

    def settle(self, report: IngestReport) -> None:
        """The files are not ours."""
