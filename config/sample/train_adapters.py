"""Train the sample brands' adapters again: `make train-sample`, or `python config/sample/train_adapters.py --help`.

1. The documents are ingested into a data directory of their own, and each pair gets the sources that retrieval finds.
2. A reader is trained on half of the questions in each brand's voice: reading and citing are the same for both. A
   third of its rows are refusals, so that it learns to look whether a source answers.
3. Each brand goes on from the reader with some of its own answers, with few refusals among them: a small model that saw
   many refuses far too often.

Both brands take the same questions, so each question's sources are prefilled once for both.
"""

import argparse
import json
import random
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from adapters.convert import convert_adapter
from adapters.examples import Example, read_examples
from adapters.gguf_check import check_adapter
from adapters.make import TrainingInput, training_card
from adapters.training.progress import EpochResult, Progress, TrainingEvent
from adapters.training.recipe import Recipe
from adapters.training.trainer import Trainer
from adapters.vary import vary_examples
from config.brands import load_brands
from config.environment import prepare_environment
from config.models import ModelFile, resolve_base
from config.settings import SAMPLE, Settings, load_settings
from server.cli.connection import own_store
from server.prepare import Preparer, read_pairs, write_rows
from server.retrieval import Retriever
from server.sample import ADAPTER_FILE, ADAPTERS, CARD_FILE, DOCUMENTS, KNOWLEDGE_BASE

BRANDS = ("halden", "pipkin")
WITHHELD_SHARE = 0.05
NUM_BRAND_ROWS = 200
BRAND_REFUSAL_SHARE = 0.08
SEED = 7
RECIPE = Recipe(
    rank=8,
    alpha=16.0,
    num_epochs=1,
    batch_rows=4,
    learning_rate=8e-4,
    shuffle_share=0.0,  # both are done below, once for all runs, so that the runs share their prefixes
    number_share=0.0,
    prefix_budget_bytes=12_000_000_000,
    seed=SEED,
)


def prepare_rows(settings: Settings, output: Path) -> None:
    """OUTPUT/BRAND/train.jsonl and heldout.jsonl."""
    brands = load_brands(SAMPLE / "brands")
    with own_store(settings, "train-sample") as store:
        store.ingest(DOCUMENTS, KNOWLEDGE_BASE)
        for name in BRANDS:
            brand = brands[name]
            preparer = Preparer(store, Retriever(store, settings.retrieval), brand.knowledge_bases, brand.refusal)
            pairs = SAMPLE / "examples" / f"{name}-pairs.jsonl"
            train = preparer.prepare(read_pairs(pairs, "train"), force_gold=True)
            withheld = preparer.withhold(train, WITHHELD_SHARE, SEED)
            heldout = preparer.prepare(read_pairs(pairs, "heldout"), force_gold=False)
            write_rows(output / name / "train.jsonl", [*train, *withheld], brand.system_prompt)
            write_rows(output / name / "heldout.jsonl", heldout, brand.system_prompt)


def read_rows(output: Path) -> dict[str, tuple[Example, ...]]:
    """Each brand's rows, varied alike: place k asks the same question of the same sources in every brand."""
    rows = {name: read_examples(output / name / "train.jsonl", "") for name in BRANDS}
    return {
        name: vary_examples(examples, shuffle_share=0.5, number_share=0.5, seed=SEED) for name, examples in rows.items()
    }


def split_by_brand(num_rows: int) -> dict[str, set[int]]:
    """Which places the reader learns in which brand's voice."""
    places = list(range(num_rows))
    random.Random(SEED).shuffle(places)
    return {name: set(places[number :: len(BRANDS)]) for number, name in enumerate(BRANDS)}


def brand_places(rows: Sequence[Example], refusal: str) -> list[int]:
    """The places of the rows that each brand learns in the end."""
    chance = random.Random(SEED + 1)
    refusals = [place for place, row in enumerate(rows) if row.answer == refusal]
    answers = [place for place, row in enumerate(rows) if row.answer != refusal]
    num_refusals = round(NUM_BRAND_ROWS * BRAND_REFUSAL_SHARE)
    return chance.sample(refusals, num_refusals) + chance.sample(answers, NUM_BRAND_ROWS - num_refusals)


def pick(rows: Sequence[Example], places: Iterable[int]) -> list[Example]:
    return [rows[place] for place in sorted(places)]


def tell(event: TrainingEvent) -> None:
    match event:
        case Progress() if event.step % 10:
            return
        case Progress():
            text = f"step {event.step}/{event.num_steps} loss {event.loss:.3f}, {event.remaining_seconds:.0f} s left"
        case EpochResult():
            text = f"loss {event.training_loss:.3f}, held out {event.validation_loss}"
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


def train_reader(trainer: Trainer, rows: dict[str, tuple[Example, ...]], output: Path, recipe: Recipe) -> Path:
    split = split_by_brand(len(rows[BRANDS[0]]))
    mixed = [example for name in BRANDS for example in pick(rows[name], split[name])]
    print(f"reader: {len(mixed)} rows", flush=True)
    return trainer.train(mixed, (), recipe, output / "reader", tell).adapter


def train_brands(
    trainer: Trainer, base: ModelFile, rows: dict[str, tuple[Example, ...]], reader: Path, output: Path, recipe: Recipe
) -> None:
    refusal = load_brands(SAMPLE / "brands")[BRANDS[0]].refusal
    places = brand_places(rows[BRANDS[0]], refusal)
    further = replace(recipe, start_from=str(reader), learning_rate=recipe.learning_rate / 2)
    for name in BRANDS:
        own = pick(rows[name], places)
        heldout = read_examples(output / name / "heldout.jsonl", "")
        print(f"{name}: {len(own)} rows", flush=True)
        result = trainer.train(own, heldout, further, output / name / "run", tell)
        given = TrainingInput(name, "", output / name / "train.jsonl", output / name / "heldout.jsonl")
        shown = replace(result, recipe=replace(result.recipe, start_from="reader"))
        card = dict(training_card(base, given, shown)) | {"made_by": "make train-sample"}
        ship(base, name, result.adapter, card, output)


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
    rows = read_rows(arguments.out)
    trainer = Trainer.open(base.path, RECIPE)
    reader = arguments.reader or train_reader(trainer, rows, arguments.out, RECIPE)
    train_brands(trainer, base, rows, reader, arguments.out, RECIPE)
    print(f"done in {(time.monotonic() - started) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
