"""What passes between the server and a job's process: an order in one file, news as lines of another.

Files and not a pipe, because both sides may be killed at any time: what is told is kept, and the reader goes on where
it was. In the job's folder:

    order.json  train.jsonl  validation.jsonl      written by the server before the process starts
    news.jsonl  made.json    log.txt   .output/    written by the process; made.json last, once the adapter is whole
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

from adapters.jobs.job import Fault, Said
from adapters.training.progress import EpochResult, RefusalBalance, TrainingEvent
from adapters.training.recipe import Recipe
from config.files import write_atomically
from config.models import ModelFile

ORDER_FILE, NEWS_FILE, MADE_FILE, LOG_FILE, LOCK_FILE = "order.json", "news.jsonl", "made.json", "log.txt", "lock"
TRAINING_ROWS, VALIDATION_ROWS = "train.jsonl", "validation.jsonl"
OUTPUT_FOLDER = ".output"
"""Names that begin with a dot are left out of backups: what is half done is done again after a restore."""

MAX_LINE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Order:
    """niceness: of the process, from 0 to 19."""

    brand: str
    instructions: str
    base: ModelFile
    recipe: Recipe
    has_validation: bool
    niceness: int


@dataclass(frozen=True, slots=True)
class Made:
    """The end of a good run. gguf: relative to the job's folder; checked against the base, not registered yet."""

    gguf: str
    card: Mapping[str, Any] = field(hash=False)
    num_tokens: int
    best_epoch: int


News = TrainingEvent | Said | Made | Fault
"""What training and its proof tell, then one Made or one Fault. A process that ends without either was killed."""

KINDS: dict[str, type] = {kind.__name__: kind for kind in get_args(News)}


@dataclass(frozen=True, slots=True)
class Told:
    unix_seconds: int
    news: News


def write_order(folder: Path, order: Order) -> None:
    values = asdict(order) | {"base": asdict(order.base) | {"path": str(order.base.path)}}
    write_atomically(folder / ORDER_FILE, json.dumps(values, ensure_ascii=False))


def read_order(folder: Path) -> Order:
    values = json.loads((folder / ORDER_FILE).read_text(encoding="utf-8"))
    base, recipe = values["base"], values["recipe"]
    values["base"] = ModelFile(**{**base, "path": Path(base["path"])})
    values["recipe"] = Recipe(**{**recipe, "target_modules": tuple(recipe["target_modules"])})
    return Order(**values)


def write_made(folder: Path, made: Made) -> None:
    write_atomically(folder / MADE_FILE, json.dumps(asdict(made), ensure_ascii=False))


def read_made(folder: Path) -> Made | None:
    try:
        return Made(**json.loads((folder / MADE_FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def news_line(news: News) -> bytes:
    """One line, its end included."""
    values = {"kind": type(news).__name__, "unix_seconds": int(time.time()), "news": asdict(news)}
    return json.dumps(values, ensure_ascii=False, default=str).encode() + b"\n"


def read_news(folder: Path, offset: int) -> tuple[list[Told], int]:
    """What was told behind byte `offset`, and the offset behind that. A line that is not whole yet waits for its end;
    one that a kill cut off, or of a kind that is not known here, is passed over.
    """
    told: list[Told] = []
    try:
        with (folder / NEWS_FILE).open("rb") as file:
            file.seek(offset)
            while (line := file.readline(MAX_LINE_BYTES)).endswith(b"\n"):
                offset += len(line)
                if item := _told(line):
                    told.append(item)
    except FileNotFoundError:
        pass
    return told, offset


def _told(line: bytes) -> Told | None:
    try:
        values = json.loads(line)
        return Told(int(values["unix_seconds"]), _news(KINDS[values["kind"]], values["news"]))
    except (ValueError, KeyError, TypeError):
        return None


def _news(kind: type, values: dict[str, Any]) -> News:
    if kind is EpochResult and values["refusals"]:
        values["refusals"] = RefusalBalance(**values["refusals"])
    news: News = kind(**values)
    return news
