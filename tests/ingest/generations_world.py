"""Index generations with predictable embedders, for the tests of this folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from config.datadir import DataDirectory
from config.errors import ModelError
from config.settings import IngestSettings, load_settings
from ingest.accept import Terms
from ingest.documents import Embedder, Progress
from ingest.embed import HashEmbedder
from ingest.embedders import EmbedderShelf
from ingest.generations import IndexGenerations
from ingest.store import FactStore

SETTINGS = load_settings(environment={}).ingest.model_copy(update={"chunk_tokens": 40})


def count_words(text: str) -> int:
    return len(text.split())


def load_hash(source: str) -> Embedder:
    """ "hash:64" is a `HashEmbedder` of 64 dimensions."""
    kind, _, dimensions = source.partition(":")
    if kind != "hash":
        raise ModelError(f"There is no embedder {source!r}.")
    return HashEmbedder(int(dimensions))


@dataclass(frozen=True, slots=True)
class Setup:
    """What a settings file would say."""

    data: DataDirectory
    embedder: str = "hash:256"
    chunk_tokens: int = 40
    count_tokens: Callable[[str], int] = count_words

    @property
    def settings(self) -> IngestSettings:
        return SETTINGS.model_copy(update={"chunk_tokens": self.chunk_tokens})

    def open(self, *, needs_embedder: bool = True) -> IndexGenerations:
        shelf = EmbedderShelf(self.embedder, load_hash)
        return IndexGenerations.open(self.data, self.settings, shelf, self.count_tokens, needs_embedder=needs_embedder)

    @contextmanager
    def opened(self, *, needs_embedder: bool = True) -> Iterator[IndexGenerations]:
        generations = self.open(needs_embedder=needs_embedder)
        try:
            yield generations
        finally:
            generations.close()


def rank_lexically(store: FactStore, question: str) -> list[str]:
    hits = store.search_lexical(question, tuple(store.knowledge_bases()), 50)
    chunks = store.chunks([hit.chunk_id for hit in hits])
    documents = store.documents_by_id([chunk.document_id for chunk in chunks.values()])
    return list(dict.fromkeys(documents[chunks[hit.chunk_id].document_id].path for hit in hits))


NO_QUESTIONS = Terms((), rank_lexically, 0.02)


def ignore(progress: Progress) -> None:
    pass


def lexical_paths(generations: IndexGenerations, query: str, knowledge_base: str = "kb") -> list[str]:
    """Of the documents that the live generation finds by words."""
    with generations.using() as live:
        hits = live.store.search_lexical(query, (knowledge_base,), 10)
        chunks = live.store.chunks([hit.chunk_id for hit in hits])
        return sorted({live.store.document(chunk.document_id).path for chunk in chunks.values()})


def texts(generations: IndexGenerations) -> dict[str, str]:
    """All text of each document, by path, without white space: what must survive another chunking."""
    with generations.using() as live:
        return {
            document.path: "".join("".join(c.text.split()) for c in live.store.chunks_of(document.document_id))
            for document in live.store.documents()
        }


def write_documents(folder: Path, count: int = 8) -> None:
    """Documents of several chunks each, with a word of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        paragraphs = [f"Paragraph {part} of item{number} says value{number}x{part}. " * 6 for part in range(4)]
        text = f"# Item {number}\n\n## Part\n\n" + "\n\n".join(paragraphs)
        (folder / f"d{number}.md").write_text(text, encoding="utf-8")
