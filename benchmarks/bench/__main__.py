"""Housevoice and its peers side by side: time to the first token, throughput, brands, streams.

    python -m benchmarks.bench                       # all models, five rounds: hours, for an idle machine
    python -m benchmarks.bench --quick               # the default base, five minutes
    python -m benchmarks.bench --models default --rounds 2 --minutes 20
    python -m benchmarks.bench --only warm single --add   # these workloads, to what was measured today
    python -m benchmarks.bench --report FILE.jsonl   # the pages again from kept samples

Writes a dated .md, .html and .jsonl to benchmarks/results/. The first run fetches and builds llama-server.
"""

import argparse
import dataclasses
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.bench import drafts
from benchmarks.bench import samples as kept
from benchmarks.bench.peers import Peers, cache_folder, find_or_build
from benchmarks.bench.processes import num_threads
from benchmarks.bench.report import Run, as_notes, markdown, page, read_quality
from benchmarks.bench.run import Plan, measure
from benchmarks.bench.samples import Sample
from benchmarks.bench.shapes import ATTENTION, LINEAR, AdapterShape, qwen_of_random_weights
from benchmarks.bench.workloads import ENGINE_WORKLOADS, QUICK, Sizes
from benchmarks.conditions import RESULTS, conditions
from config.environment import prepare_environment
from config.models import ModelFile, file_sha256, resolve_base
from config.settings import Settings, load_settings

MODELS = ("default", "q4_0", "q8_0")
DRAFTS = "drafts"
WORKLOADS = (*ENGINE_WORKLOADS, DRAFTS)
QUICK_MINUTES = 4.0
"""Of measuring; starting everything takes the fifth."""
ALL_MINUTES = 600.0


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.report:
        _write(arguments.report.with_suffix(""), *kept.read(arguments.report))
        return
    prepare_environment()
    settings, cache = load_settings(environment=_without_settings()), cache_folder()
    peers = find_or_build(cache)
    plan = _plan(arguments)
    states: dict[str, Any] = {}
    target = RESULTS / f"bench-{'quick-' if arguments.quick else ''}{datetime.now(UTC):%Y-%m-%d}"
    found, notes = _earlier(target) if arguments.add else ([], ())
    for name in arguments.models or (MODELS[:1] if arguments.quick else MODELS):
        base = _base(name, settings, peers, cache)
        if plan.only:
            more, states[base.name] = measure(base, plan, peers, cache)
            found += more
            _write(target, found, (*notes, *_notes(plan, states)))
        if name == "default" and DRAFTS in (arguments.only or WORKLOADS):
            found += drafts.measure_drafts(base, plan.rounds, plan.sizes.num_questions)
        _write(target, found, (*notes, *_notes(plan, states)))
    print(f"Wrote {target.name}.md, .html and .jsonl to {RESULTS.name}/")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller steps, one round, the default base, five minutes")
    parser.add_argument("--models", nargs="+", choices=MODELS, help="q4_0, q8_0: random weights, shape of Qwen2.5-0.5B")
    parser.add_argument("--rounds", type=int, default=0, help="5, or 1 with --quick")
    parser.add_argument("--minutes", type=float, default=0, help="of measuring one model; what is left out is told")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, help="these workloads; all otherwise")
    parser.add_argument("--add", action="store_true", help="to the samples that today's file holds already")
    parser.add_argument("--chunks", nargs="+", type=int, help="sources in one prompt; 2 4 9 18 otherwise")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--layout", choices=("exact", "blocks"), default="blocks", help="housevoice's engine.fact_layout"
    )
    parser.add_argument(
        "--adapter-layers", choices=("all", "attention"), default="all", help="as the sample brands: all"
    )
    parser.add_argument("--adapter-rank", type=int, default=8)
    parser.add_argument("--no-example-server", action="store_true")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION_KEY=VALUE",
        help="a setting of housevoice, e.g. ENGINE_THREADS=1",
    )
    parser.add_argument("--report", type=Path, help="samples of an earlier run")
    return parser


def _plan(arguments: argparse.Namespace) -> Plan:
    layers = LINEAR if arguments.adapter_layers == "all" else ATTENTION
    given = dict(item.split("=", 1) for item in arguments.set)
    sizes = QUICK if arguments.quick else Sizes()
    return Plan(
        sizes=dataclasses.replace(sizes, chunks=tuple(sorted(arguments.chunks or sizes.chunks))),
        rounds=arguments.rounds or (1 if arguments.quick else 5),
        seconds=60 * (arguments.minutes or (QUICK_MINUTES if arguments.quick else ALL_MINUTES)),
        seed=arguments.seed,
        layout=arguments.layout,
        adapter=AdapterShape(arguments.adapter_rank, layers),
        settings={f"HOUSEVOICE_{name.upper()}": value for name, value in given.items()},
        has_example=not arguments.no_example_server,
        only=tuple(name for name in arguments.only or WORKLOADS if name != DRAFTS),
    )


def _base(name: str, settings: Settings, peers: Peers, cache: Path) -> ModelFile:
    if name == "default":
        return resolve_base(settings)
    path = qwen_of_random_weights(cache, name, peers.vocabulary)
    return ModelFile(path.stem, path, file_sha256(path, settings.data), path.stat().st_size)


def _without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HOUSEVOICE_")}


def _notes(plan: Plan, states: dict[str, Any]) -> tuple[str, ...]:
    adapters = f"random weights, rank {plan.adapter.rank}, {', '.join(plan.adapter.layers)}"
    given = {
        "threads of every system": num_threads(),
        "adapters": adapters,
        "settings of housevoice": dict(plan.settings) or "defaults, but for room for the prompts",
        **{f"sources with {name}": state["engine"]["facts"] for name, state in states.items()},
    }
    return (*conditions().splitlines(), *as_notes(given))


def _earlier(target: Path) -> tuple[list[Sample], tuple[str, ...]]:
    file = target.with_suffix(".jsonl")
    return kept.read(file) if file.exists() else ([], ())


def _write(target: Path, samples: list[Sample], notes: tuple[str, ...]) -> None:
    """After each model, so that a run that is broken off keeps what it has."""
    run = Run(f"Benchmark {target.name.removeprefix('bench-')}", tuple(samples), notes, read_quality())
    kept.write(target.with_suffix(".jsonl"), samples, notes)
    target.with_suffix(".md").write_text(markdown(run), encoding="utf-8")
    target.with_suffix(".html").write_text(page(run), encoding="utf-8")


if __name__ == "__main__":
    main()
