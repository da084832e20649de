"""Train the sample brands' adapters again: `make train-sample`, or `python config/sample/train_adapters.py --help`.

1. A reader learns on invented passages (examples/passages.jsonl) to quote the sentence that answers, with its source's
   number, and to begin the refusal where no sentence does; in both voices' first lines, as this is the same for both.
2. The documents are ingested into a data directory of their own, and each pair gets the sources that retrieval finds.
3. Each brand goes on from the reader with some of its own whole answers, which teach form and wording, mixed with
   reading practice in its voice: without that rehearsal it forgets what to answer and what to refuse.

Both brands take the same questions, so each question's sources are prefilled once for both. The development pairs
measure each run; the held-out pairs are touched by nothing here.
"""

import argparse
import json
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from adapters.convert import convert_adapter
from adapters.examples import Example, read_examples
from adapters.gguf_check import check_adapter
from adapters.make import TrainingInput, training_card
from adapters.reading import EVIDENCE, Shares, Voice, read_groups, reading_examples
from adapters.training.progress import EpochResult, Progress, TrainingEvent
from adapters.training.recipe import Recipe
from adapters.training.trainer import Trainer
from adapters.vary import vary_examples
from config.brands import Brand, load_brands
from config.environment import prepare_environment
from config.models import ModelFile, resolve_base
from config.settings import SAMPLE, Settings, load_settings
from server.cli.connection import own_store
from server.prepare import Preparer, read_pairs, write_rows
from server.retrieval import Retriever
from server.sample import ADAPTER_FILE, ADAPTERS, CARD_FILE, DOCUMENTS, KNOWLEDGE_BASE

BRANDS = ("halden", "pipkin")
READING = SAMPLE / "examples" / "passages.jsonl"
KEPT = 40
"""One group in so many is kept to measure the reader."""
SHARES = Shares(answerable=12, unanswerable=9, withheld=6, remaining=3)
NUM_ANSWERS, NUM_REFUSALS = 200, 60
REHEARSED_STEP = 4
REHEARSED = Shares(answerable=2, unanswerable=2, withheld=0, remaining=0)
SEED = 7
READER = Recipe(
    rank=8,
    alpha=16.0,
    num_epochs=1,
    batch_rows=8,
    learning_rate=1e-3,
    decision_weight=5.0,
    shuffle_share=0.0,  # passages come shuffled and with facts of their own
    number_share=0.0,
    prefix_budget_bytes=10_000_000_000,
    seed=SEED,
)
BRAND = replace(READER, batch_rows=4, learning_rate=5e-4)
"""Its rows are varied before, once for both brands, so that they share their prefixes."""
DEVELOPMENT_STEP = 3
"""Every third development row measures a run; all of them would take longer than the training."""


def prepare_rows(settings: Settings, output: Path) -> None:
    """OUTPUT/BRAND/train.jsonl, development.jsonl and heldout.jsonl."""
    brands = load_brands(SAMPLE / "brands")
    with own_store(settings, "train-sample") as store:
        store.ingest(DOCUMENTS, KNOWLEDGE_BASE)
        for name in BRANDS:
            brand = brands[name]
            preparer = Preparer(store, Retriever(store, settings.retrieval), brand.knowledge_bases, brand.refusal)
            pairs = SAMPLE / "examples" / f"{name}-pairs.jsonl"
            train = preparer.prepare(read_pairs(pairs, "train"), force_gold=True)
            write_rows(output / name / "train.jsonl", train, brand.system_prompt)
            for split in ("development", "heldout"):
                rows = preparer.prepare(read_pairs(pairs, split), force_gold=False)
                write_rows(output / name / f"{split}.jsonl", rows, brand.system_prompt)


def voices(brands: Mapping[str, Brand]) -> list[Voice]:
    """How each brand begins: the first line of its answers with a quoted sentence, or of its refusal."""
    return [
        Voice(
            instructions=brand.system_prompt,
            opening=f"{brand.format.lines[0]}{EVIDENCE}\n",
            refusal=f"{brand.refusal.splitlines()[0]}\n",
        )
        for brand in brands.values()
    ]


def brand_rows(folder: Path, refusal: str) -> list[Example]:
    """The chosen rows, varied. Place k asks the same question of the same sources in every brand."""
    rows = read_examples(folder / "train.jsonl", "")
    chance = random.Random(SEED)
    chosen = [
        *_some([row for row in rows if row.answer != refusal], NUM_ANSWERS, chance),
        *_some([row for row in rows if row.answer == refusal], NUM_REFUSALS, chance),
    ]
    return list(vary_examples(chosen, shuffle_share=0.5, number_share=0.5, seed=SEED))


def _some(rows: Sequence[Example], number: int, chance: random.Random) -> list[Example]:
    return chance.sample(list(rows), min(number, len(rows)))


def tell(event: TrainingEvent) -> None:
    match event:
        case Progress() if event.step % 10:
            return
        case Progress():
            text = f"step {event.step}/{event.num_steps} loss {event.loss:.3f}, {event.remaining_seconds:.0f} s left"
        case EpochResult():
            text = f"loss {event.training_loss:.3f}, held out {event.validation_loss}, {event.refusals}"
        case _:
            text = str(event)
    print(f"  {text}", flush=True)


def ship(base: ModelFile, name: str, peft: Path, card: dict[str, object], output: Path) -> None:
    """Convert, check, and put into the sample's folder with its card."""
    gguf = convert_adapter(peft, base.path, base.sha256, name, output / name / ADAPTER_FILE)
    check_adapter(gguf, base.path, base.sha256)
    target = ADAPTERS / name
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(gguf, target / ADAPTER_FILE)
    (target / CARD_FILE).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def train_reader(trainer: Trainer, brands: Mapping[str, Brand], output: Path) -> Path:
    groups = read_groups(READING)
    rows = reading_examples([group for place, group in enumerate(groups) if place % KEPT], voices(brands), SHARES, SEED)
    kept = reading_examples(groups[::KEPT], voices(brands), SHARES, SEED)
    print(f"reader: {len(rows)} rows, {len(kept)} held out", flush=True)
    return trainer.train(rows, kept, READER, output / "reader", tell).adapter


def train_brand(trainer: Trainer, base: ModelFile, brand: Brand, reader: Path, output: Path) -> None:
    folder = output / brand.name
    rehearsed = reading_examples(read_groups(READING)[1::REHEARSED_STEP], voices({brand.name: brand}), REHEARSED, SEED)
    rows = [*brand_rows(folder, brand.refusal), *rehearsed]
    print(f"{brand.name}: {len(rows)} rows", flush=True)
    development = read_examples(folder / "development.jsonl", "")[::DEVELOPMENT_STEP]
    result = trainer.train(rows, development, replace(BRAND, start_from=str(reader)), folder / "run", tell)
    given = TrainingInput(brand.name, "", folder / "train.jsonl", folder / "development.jsonl")
    shown = replace(result, recipe=replace(result.recipe, start_from="reader"))
    card = dict(training_card(base, given, shown)) | {"made_by": "make train-sample"}
    ship(base, brand.name, result.adapter, card, output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data-train-sample"), help="index, rows, checkpoints")
    parser.add_argument("--prepared", action="store_true", help="use the rows that lie in --out already")
    parser.add_argument("--reader", type=Path, help="go on from this PEFT folder instead of training a reader")
    arguments = parser.parse_args()
    prepare_environment()
    settings = load_settings()
    storage = settings.storage.model_copy(update={"data_dir": arguments.out / "data"})
    settings = settings.model_copy(update={"storage": storage})
    if not arguments.prepared:
        prepare_rows(settings, arguments.out)
    started = time.monotonic()
    base = resolve_base(settings)
    brands = {name: load_brands(SAMPLE / "brands")[name] for name in BRANDS}
    trainer = Trainer.open(base.path, READER)
    reader = arguments.reader or train_reader(trainer, brands, arguments.out)
    for name in BRANDS:
        train_brand(trainer, base, brands[name], reader, arguments.out)
    print(f"done in {(time.monotonic() - started) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
