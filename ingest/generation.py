"""Index generations on disk: one folder each, a card that says what made it, and which one is live.

index/
  current           {"number": 2, ...}    replaced in one step; names the live generation
  1/                the one before, kept for going back
    card.json       recipe, state, what its verification found
    housevoice.db   catalog, chunks, words     } a data directory of facts in its own right:
    chroma/         vectors                    } `FactStore` opens it
  2/
"""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from config.datadir import DataDirectory
from config.errors import DataDirectoryError, NotFoundError
from config.files import sync_folder, write_atomically
from ingest.chunk import CHUNKER_VERSION
from ingest.parse.dispatch import PARSER_VERSION

CARD, CURRENT, GONE = "card.json", "current", ".gone"
PROBES = (
    "Full-time employees receive 26 days of paid annual leave in each calendar year, on top of public holidays.",
    "Für Bestellungen über 1.250,00 € gilt: Lieferzeit 3-5 Werktage; Rückgabe innerhalb von 14 Tagen möglich.",
    "L'expédition des réactifs s'effectue à −20 °C, conformément à l'annexe n° 7 du contrat.",
    "| Article | Price |\n| POD-12/XL | 31.50 EUR |\n",
    "def f(x):\n    return {'error_code': 0x7F, \"url\": 'https://example.com/a?b=1&c=2'}",
    "保証期間は36か月です。Гарантия составляет 36 месяцев. Η εγγύηση ισχύει.",
    "MIXED Case, iPhone, H5-2024-09-17T08:30Z; 3.14159265, 1,000,000; a_b_c... (!?) 100%",
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything by which equal documents get equal chunks and vectors.

    embedder: `Embedder.identity`. tokenizer: how the base model counts (`tokenizer_identity`), which sizes chunks.
    """

    embedder: str
    chunk_tokens: int
    chunker_version: int
    parser_version: int
    tokenizer: str

    def differences(self, wanted: "Recipe") -> list[str]:
        """For people: in what the settings and this release ask for something else; empty where they do not."""
        pairs = {name: (getattr(self, name), getattr(wanted, name)) for name in asdict(self)}
        return [f"{name.replace('_', ' ')} {old} -> {new}" for name, (old, new) in pairs.items() if old != new]


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a generation. `embedder_source` is the setting that loads its embedder, "" where unknown.

    is_complete: False while it is being built. checks: what its verification found, for people and `index list`.
    """

    number: int
    recipe: Recipe
    embedder_source: str
    is_complete: bool
    created_unix_seconds: int
    checks: dict[str, float] = field(default_factory=dict)


def tokenizer_identity(count_tokens: Callable[[str], int]) -> str:
    """Chunks are sized by counting, so two tokenizers that count alike on all probes are one."""
    counts = ",".join(str(count_tokens(probe)) for probe in PROBES)
    return sha256(counts.encode()).hexdigest()[:12]


def recipe_of(embedder_identity: str, chunk_tokens: int, count_tokens: Callable[[str], int]) -> Recipe:
    """What this release makes with these settings."""
    return Recipe(embedder_identity, chunk_tokens, CHUNKER_VERSION, PARSER_VERSION, tokenizer_identity(count_tokens))


class IndexFolder:
    """The folder of all generations. The caller owns the data directory."""

    def __init__(self, data: DataDirectory) -> None:
        self.path = data.index

    def folder(self, number: int) -> DataDirectory:
        return DataDirectory(self.path / str(number))

    def cards(self) -> list[Card]:
        """By number; folders without a readable card (a creation or removal that was killed) are none."""
        folders = self.path.iterdir() if self.path.is_dir() else iter(())
        numbers = sorted(int(folder.name) for folder in folders if folder.name.isdigit())
        return [self.card(number) for number in numbers if (self.path / str(number) / CARD).exists()]

    def card(self, number: int) -> Card:
        """Raises NotFoundError, or DataDirectoryError for a card that cannot be read."""
        path = self.path / str(number) / CARD
        if not path.exists():
            raise NotFoundError(f"There is no index generation {number}.", hint="housevoice index list shows them.")
        values = _read_json(path)
        try:
            return Card(**{**values, "recipe": Recipe(**values["recipe"])})
        except (KeyError, TypeError) as error:
            raise _damaged(path, error) from error

    def write(self, card: Card) -> None:
        self.write_in(self.path / str(card.number), card)

    def write_in(self, folder: Path, card: Card) -> None:
        write_atomically(folder / CARD, json.dumps(asdict(card), indent=1) + "\n")

    def current(self) -> int | None:
        """The live generation's number; None in a data directory that has none yet."""
        path = self.path / CURRENT
        if not path.exists():
            return None
        try:
            return int(_read_json(path)["number"])
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(path, error) from error

    def previous(self) -> int | None:
        """The one that was live before, while it is kept."""
        path = self.path / CURRENT
        number = _read_json(path).get("previous") if path.exists() else None
        return number if isinstance(number, int) and (self.path / str(number) / CARD).exists() else None

    def make_current(self, number: int) -> None:
        """From now on `number` is what is opened."""
        before = self.current()
        value = {
            "number": number,
            "previous": before if before != number else self.previous(),
            "highest": self.next_number() - 1,
            "switched_unix_seconds": int(time.time()),
            **asdict(self.card(number).recipe),
        }
        write_atomically(self.path / CURRENT, json.dumps(value, indent=1) + "\n")

    def create(self, recipe: Recipe, embedder_source: str) -> Card:
        """An empty generation under the next number, not complete."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        number = self.next_number()
        (self.path / str(number)).mkdir(mode=0o700)
        card = Card(number, recipe, embedder_source, False, int(time.time()))
        self.write(card)
        return card

    def next_number(self) -> int:
        """No number that was ever live is used twice: a recorded answer names its generation by it."""
        path = self.path / CURRENT
        highest = int(_read_json(path).get("highest", 0)) if path.exists() else 0
        return max([highest, *(int(folder.name.removesuffix(GONE)) for folder in self.path.glob("[0-9]*"))]) + 1

    def complete(self, number: int, checks: dict[str, float]) -> Card:
        card = replace(self.card(number), is_complete=True, checks=checks)
        self.write(card)
        return card

    def remove(self, number: int) -> None:
        """Of a generation that nobody has open. A removal that is killed is finished by `sweep`."""
        folder = self.path / str(number)
        folder.rename(folder.with_suffix(GONE))
        sync_folder(self.path)
        shutil.rmtree(folder.with_suffix(GONE))

    def sweep(self) -> None:
        """Clear away what killed processes left: half-removed folders, and folders that never got a card."""
        for folder in list(self.path.glob("[0-9]*")):
            if folder.suffix == GONE or not (folder / CARD).exists():
                shutil.rmtree(folder)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(value, dict):
        raise _damaged(path, TypeError("no object"))
    return value


def _damaged(path: Path, error: Exception) -> DataDirectoryError:
    return DataDirectoryError(
        f"{path} cannot be read ({error!r}).", "Restore a backup: housevoice index restore FILE, or ask for help."
    )
