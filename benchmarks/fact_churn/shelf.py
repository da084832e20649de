"""The documents, on disk and as they are remembered."""

import random
from collections.abc import Sequence
from pathlib import Path

NUM_DOCUMENTS = 40


class Shelf:
    """The documents on disk, and what is done to them."""

    def __init__(self, folder: Path, texts: Sequence[str], chance: random.Random) -> None:
        self.folder = folder
        self._texts, self._chance, self._count = iter(texts), chance, 0
        self.documents: dict[str, str] = {}
        folder.mkdir()
        for _ in range(NUM_DOCUMENTS):
            self.add()

    def add(self) -> set[str]:
        path = f"document-{self._count:04d}.txt"
        self._count += 1
        self._write(path)
        return {path}

    def change(self) -> set[str]:
        path = self._chance.choice(sorted(self.documents))
        self._write(path)
        return {path}

    def remove(self) -> set[str]:
        path = self._chance.choice(sorted(self.documents))
        del self.documents[path]
        (self.folder / path).unlink()
        return {path}

    def rename(self) -> set[str]:
        path = self._chance.choice(sorted(self.documents))
        new = f"renamed-{self._count:04d}.txt"
        self._count += 1
        self.documents[new] = self.documents.pop(path)
        (self.folder / path).rename(self.folder / new)
        return {path, new}

    def _write(self, path: str) -> None:
        self.documents[path] = next(self._texts)
        (self.folder / path).write_text(self.documents[path] + "\n", encoding="utf-8")
