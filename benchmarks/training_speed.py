"""Training against TRL's SFTTrainer: same base, same LoRA, same rows with their sources in front, in turns.

    python -m venv TRL; TRL/bin/pip install -r benchmarks/peers/training-requirements.txt
    python -m benchmarks.training_speed --peer TRL [--rows 24] [--heldout 16] [--epochs 3] [--rounds 1] [--save]

The rows are questions on the sample's invented passages, each with its own sources of about 700 tokens. Both learn the
same tokens with the same rank, layers, rates, batches and number of epochs; both count a row's whole tokens once an
epoch. Every run is a process of its own; time counts from the loaded base to the last step, for ours with the
prefilling and the estimate, without validation. Held-out loss is of the answers' tokens, under the adapter as each of
them serves it: ours from the voice boundary on, TRL's throughout.
"""

import argparse
import dataclasses
import json
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapters.examples import Example
from adapters.reading import Passage, read_groups
from adapters.training.dataset import TrainingRow, build_rows
from adapters.training.recipe import Precision, Recipe
from benchmarks.conditions import RESULTS, conditions
from benchmarks.own_process import Row, run_apart
from config.environment import prepare_environment
from config.models import resolve_base
from config.prompt import Conversation, Source, Turn
from config.settings import SAMPLE, load_settings

PEER = Path(__file__).parent / "peers" / "trl_train.py"
INSTRUCTIONS = "Answer in three lines: the answer with its source, the basis, and an offer to help."
SOURCE_TOKENS = 700
DEVICE_ROWS = 2
"""Rows that the peer computes at once; it gathers gradients up to `batch_rows`."""
PLAIN_RECIPE = Recipe(shuffle_share=0.0, number_share=0.0)
"""The rows are written before, so that both learn the same."""


def examples(number: int, num_tokens: int, count: Any) -> list[Example]:
    """Each asks about one passage, with others before and behind it until the sources hold `num_tokens`."""
    chance = random.Random(7)
    groups = read_groups(SAMPLE / "examples" / "passages.jsonl")
    passages = [passage for group in groups for passage in group.passages]
    asked = [(passage, *question) for passage in passages for question in passage.questions]
    return [
        _example(passage, question, sentence, _sources(passage, passages, num_tokens, count, chance))
        for passage, question, sentence in chance.sample(asked, number)
    ]


def _sources(
    own: Passage, passages: Sequence[Passage], num_tokens: int, count: Any, chance: random.Random
) -> list[Passage]:
    chosen = [own]
    for passage in chance.sample(list(passages), len(passages)):
        if sum(count(item.text) for item in chosen) >= num_tokens:
            break
        if passage is not own:
            chosen.append(passage)
    return chance.sample(chosen, len(chosen))


def _example(own: Passage, question: str, sentence: int, sources: list[Passage]) -> Example:
    number = 1 + next(place for place, passage in enumerate(sources) if passage is own)
    shown = tuple(Source(place, item.title, item.heading, item.text) for place, item in enumerate(sources, 1))
    answer = (
        f"Answer: {own.sentences[sentence].rstrip('. ')} [{number}].\nBasis: {own.title} [{number}].\nAsk us for more."
    )
    return Example(Conversation((Turn("user", question),), shown, INSTRUCTIONS), answer)


def write_rows(path: Path, base: Path, arguments: argparse.Namespace) -> Precision:
    """The rows in tokens, as training renders them. Returns the precision that is faster here."""
    from adapters.training.base import load_base, precision_of

    opened = load_base(base)
    number = arguments.rows + arguments.heldout
    made = examples(number, SOURCE_TOKENS, lambda text: len(opened.encode(text, False)))
    rows = build_rows(made, opened.turn_format, opened.encode, max_tokens=4_096)
    values = [dataclasses.astuple(row) for row in rows]
    split = {"train": values[: arguments.rows], "heldout": values[arguments.rows :]}
    path.write_text(json.dumps(split), encoding="utf-8")
    peer = {name: [[[*row[0], *row[1]], row[2]] for row in of_name] for name, of_name in split.items()}
    path.with_suffix(".peer").write_text(json.dumps(peer), encoding="utf-8")
    return precision_of(opened)


def ours(base: Path, rows: Path, recipe: Recipe, work: Path) -> Row:
    """In this process, which does nothing else: `--one` calls it."""
    from adapters.training.adapter import with_adapter
    from adapters.training.base import load_base
    from adapters.training.loss import mean_loss
    from adapters.training.prefixes import PrefixStore
    from adapters.training.progress import ignore
    from adapters.training.run import Run

    opened = load_base(base, recipe.precision, recipe.threads)
    values = json.loads(rows.read_text(encoding="utf-8"))
    split = {name: [_row(value) for value in values[name]] for name in values}
    store = PrefixStore(opened, recipe.prefix_budget_bytes)
    started, started_cpu = time.perf_counter(), time.process_time()
    result = Run(opened, store, recipe, work, ignore).train(split["train"], ())
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with_adapter(opened, replace(recipe, start_from=str(result.adapter))).eval()
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "heldout_loss": mean_loss(opened, store, split["heldout"]),
        "peak_bytes": peak,
    }


def _row(value: list[Any]) -> TrainingRow:
    return TrainingRow(tuple(value[0]), tuple(value[1]), value[2], tuple(value[3]))


def measure(arguments: argparse.Namespace, base: Path, work: Path, recipe: Recipe) -> dict[str, list[Row]]:
    settings = json.dumps(dataclasses.asdict(recipe) | {"device_rows": DEVICE_ROWS})
    rows = work / "rows.json"
    systems = {
        "housevoice": [sys.executable, "-m", "benchmarks.training_speed", "--one", str(base), str(rows), settings],
        "TRL SFTTrainer": [
            str(arguments.peer / "bin" / "python"),
            str(PEER),
            str(base),
            str(rows.with_suffix(".peer")),
            settings,
        ],
    }
    found: dict[str, list[Row]] = {name: [] for name in systems}
    for number in range(arguments.rounds):
        for name, command in systems.items():
            place = work / f"{number}-{name.partition(' ')[0]}"
            found[name].append(run_apart([*command, str(place)], tokenizer_threads=False))
            print(name, found[name][-1], flush=True)
    return found


def report(found: dict[str, list[Row]], rows: Path, recipe: Recipe, base_name: str) -> str:
    train = json.loads(rows.read_text(encoding="utf-8"))["train"]
    lengths = [[len(row[0]) for row in train], [len(row[1]) for row in train]]
    num_tokens = recipe.num_epochs * sum(map(sum, lengths))
    speed = {name: num_tokens / _median(runs, "seconds") for name, runs in found.items()}
    work = {name: num_tokens / _median(runs, "cpu_seconds") for name, runs in found.items()}
    lines = [
        "# Training against TRL's SFTTrainer",
        "",
        f"{base_name} in {recipe.precision}, LoRA of rank {recipe.rank} on all linear layers, {len(train)} rows x"
        f" {recipe.num_epochs} epochs, {statistics.mean(lengths[0]):.0f} tokens before the voice boundary and"
        f" {statistics.mean(lengths[1]):.0f} behind it on average.",
        "",
        "| system | tokens/s | seconds | tokens per CPU second | held-out loss | peak memory MB |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in found.items():
        seconds, loss = _median(runs, "seconds"), _median(runs, "heldout_loss")
        peak = max(run["peak_bytes"] for run in runs) / 1e6
        lines.append(f"| {name} | {speed[name]:.0f} | {seconds:.1f} | {work[name]:.0f} | {loss:.3f} | {peak:.0f} |")
    ratios = [measured["housevoice"] / measured["TRL SFTTrainer"] for measured in (speed, work)]
    lines += [
        "",
        f"**{ratios[0]:.2f}** times TRL's tokens/s, {ratios[1]:.2f} times its tokens per CPU second (the figure that"
        f" other load on the machine changes least). {len(found['housevoice'])} rounds in turns, medians; TRL"
        f" {version_of_peer()}, {DEVICE_ROWS} rows at once, no gradient checkpointing.",
        "",
        conditions(),
        "",
    ]
    return "\n".join(lines)


def _median(runs: list[Row], key: str) -> float:
    return float(statistics.median(run[key] for run in runs))


def version_of_peer() -> str:
    wanted = (PEER.parent / "training-requirements.txt").read_text(encoding="utf-8")
    return next(line.partition("==")[2] for line in wanted.splitlines() if line.startswith("trl=="))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="environment with TRL")
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--heldout", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--one", nargs=4, metavar=("GGUF", "ROWS", "RECIPE", "WORK"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    prepare_environment()
    if arguments.one:
        values = {key: value for key, value in json.loads(arguments.one[2]).items() if key != "device_rows"}
        recipe = Recipe(**{**values, "target_modules": tuple(values["target_modules"])})
        base, rows, _, work = arguments.one
        print(json.dumps(ours(Path(base), Path(rows), recipe, Path(work))))
        return
    if not arguments.peer:
        parser.error("--peer is needed")
    base_file = resolve_base(load_settings())
    with tempfile.TemporaryDirectory() as folder:
        work_folder = Path(folder)
        precision = write_rows(work_folder / "rows.json", base_file.path, arguments)
        threads = len(os.sched_getaffinity(0))
        recipe = replace(PLAIN_RECIPE, num_epochs=arguments.epochs, precision=precision, threads=threads)
        found = measure(arguments, base_file.path, work_folder, recipe)
        text = report(found, work_folder / "rows.json", recipe, base_file.name)
    print(text)
    if arguments.save:
        (RESULTS / "training-speed.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
