"""Files that came over the API: kept in the data directory, and read from there like a folder of the operator's.

`uploads/<knowledge base>/uploads/<name>`: the outer folder is the source, so a document's path begins with `uploads/`
and cannot meet that of a file in some other folder of the knowledge base.
"""

import re
import shutil
import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from config.datadir import DataDirectory
from config.settings import IngestSettings
from ingest.documents import IngestReport
from ingest.origins import OnProgress
from ingest.parse.limits import limits_of
from ingest.parse.pool import ParseWorker
from ingest.parse.reasons import ParseError
from ingest.patterns import Selection
from ingest.scan import Source, find_source

FOLDER = "uploads"
MAX_NAME_BYTES = 200
MAX_SUFFIX_BYTES = 20
UNWANTED = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"|?*\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]')
"""Control characters, those that turn the direction of writing, and what other systems do not allow in names."""


def safe_name(name: str) -> str:
    """The last part of whatever a client calls its file, as a plain file name: never hidden, never empty.

    It decides nothing: the format follows from the content.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", UNWANTED.sub("", name)))[-1]
    path = PurePosixPath(" ".join(last.split()).lstrip(".~$ ").rstrip(". ") or "document")
    suffix = path.suffix if len(path.suffix.encode()) <= MAX_SUFFIX_BYTES else ""
    stem = path.name.removesuffix(suffix).encode()[: MAX_NAME_BYTES - len(suffix.encode())]
    return stem.decode("utf-8", "ignore") + suffix


class Uploads:
    """The files of one data directory. Thread-safe as far as the file system is."""

    def __init__(self, data: DataDirectory) -> None:
        self._data = data

    def clear_incoming(self) -> None:
        """What a killed process had not received whole."""
        shutil.rmtree(self._data.incoming, ignore_errors=True)

    def new_incoming(self) -> Path:
        """A path for a file in the making, on the same file system as its later place."""
        self._data.incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._data.incoming / uuid.uuid4().hex

    def place(self, incoming: Path, knowledge_base: str, name: str) -> str:
        """Move a complete file to its place, where it replaces one of the same name. Returns the document's path."""
        folder = self.root(knowledge_base) / FOLDER
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        incoming.replace(folder / name)
        return f"{FOLDER}/{name}"

    def remove(self, root: str, path: str) -> None:
        """Delete the file of a document, where it is one of ours."""
        if Path(root).parent == self._data.uploads.resolve():
            Path(root, path).unlink(missing_ok=True)

    def root(self, knowledge_base: str) -> Path:
        return (self._data.uploads / knowledge_base).resolve()


def refusal(path: Path, name: str, settings: IngestSettings) -> ParseError | None:
    """Why a file cannot become a document, found out before it replaces one that could. Takes as long as parsing."""
    worker = ParseWorker(limits_of(settings))
    try:
        worker.parse(path, name)
    except ParseError as error:
        return error
    finally:
        worker.close()
    return None


@dataclass(frozen=True, slots=True)
class UploadOrigin:
    """All uploads of a knowledge base: what a killed upload left behind is put right by the next one."""

    uploads: Uploads
    knowledge_base: str
    path: str

    @property
    def label(self) -> str:
        return self.path

    def find(self, known_roots: Sequence[str], on_progress: OnProgress) -> Source:
        return find_source(self.uploads.root(self.knowledge_base), Selection((), ()), known_roots)

    def settle(self, report: IngestReport) -> None:
        """A file that could not be read after all is not kept: the client was told, and will send a better one."""
        failed = next((failure for failure in report.failures if failure.path == self.path), None)
        if failed is not None:
            self.uploads.remove(str(self.uploads.root(self.knowledge_base)), self.path)
