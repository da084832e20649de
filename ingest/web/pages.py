"""Pages as they were fetched, in the data directory: what was fetched once is there to be read again."""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

import httpx

from config.datadir import DataDirectory
from ingest.catalog import FileState
from ingest.scan import SourceFile
from ingest.web.fetch import Known, Page

SUFFIXES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "application/pdf": ".pdf",
    "message/rfc822": ".eml",
}
CONTENT, CARD = ".page", ".json"


@dataclass(frozen=True, slots=True)
class KeptPage:
    """What is known of a page beside its bytes. listed_by: the sitemap that it came from, or ""."""

    url: str
    fetched_url: str
    etag: str
    last_modified: str
    content_type: str
    listed_by: str
    fetched_unix_seconds: int

    @property
    def known(self) -> Known:
        return Known(self.fetched_url, self.etag, self.last_modified)

    @property
    def name(self) -> str:
        """A file name that says what the site said of the format; the content decides."""
        address = httpx.URL(self.url)
        name = PurePosixPath(address.path).name or address.host
        suffix = SUFFIXES.get(self.content_type, "")
        return name if name.lower().endswith(suffix) else name + suffix


class PageStore:
    """The pages of one knowledge base: two files a page, named after its address. The card is written last."""

    def __init__(self, data: DataDirectory, knowledge_base: str) -> None:
        self.root = (data.web / knowledge_base).resolve()

    def pages(self) -> list[KeptPage]:
        """By address. What a killed process left half-written is left out."""
        cards = (self._read(path) for path in self.root.glob(f"*{CARD}"))
        return sorted((card for card in cards if card and self._content(card.url).exists()), key=lambda card: card.url)

    def page(self, url: str) -> KeptPage | None:
        card = self._read(self._card(url))
        return card if card and self._content(url).exists() else None

    def keep(self, url: str, page: Page, listed_by: str) -> None:
        """Equal bytes leave the file as it is, with its time, so that nothing is read again."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        content = self._content(url)
        if not content.exists() or content.read_bytes() != page.content:
            _write(content, page.content)
        known = page.known
        kept = KeptPage(
            *(url, known.url, known.etag, known.last_modified, page.content_type, listed_by, int(time.time()))
        )
        self._write_card(kept)

    def relist(self, kept: KeptPage, listed_by: str) -> None:
        """It has not changed, and another sitemap lists it now."""
        self._write_card(replace(kept, listed_by=listed_by))

    def remove(self, url: str) -> None:
        self._card(url).unlink(missing_ok=True)
        self._content(url).unlink(missing_ok=True)

    def remove_of(self, root: str, path: str) -> None:
        """Delete the files of a document, where it is one of these pages."""
        if root == str(self.root):
            self.remove(path)

    def files(self) -> Iterator[SourceFile]:
        """All pages as files of a source whose root is this folder and whose paths are addresses."""
        for page in self.pages():
            path = self._content(page.url)
            status = path.stat()
            state = FileState(str(self.root), page.url, status.st_size, status.st_mtime_ns)
            yield SourceFile(path, state, page.name)

    def _read(self, path: Path) -> KeptPage | None:
        try:
            return KeptPage(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def _write_card(self, kept: KeptPage) -> None:
        _write(self._card(kept.url), json.dumps(asdict(kept), ensure_ascii=False).encode())

    def _content(self, url: str) -> Path:
        return self.root / (_key(url) + CONTENT)

    def _card(self, url: str) -> Path:
        return self.root / (_key(url) + CARD)


def _key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)
