"""Housevoice and its peers side by side: time to the first token, throughput, brands, streams.

    python -m benchmarks.bench                       # all models, five rounds: hours, for an idle machine
    python -m benchmarks.bench --quick               # the default base, five minutes
    python -m benchmarks.bench --models default --rounds 2 --minutes 20
    python -m benchmarks.bench --report FILE.jsonl   # the pages again from kept samples

Writes a dated .md, .html and .jsonl to benchmarks/results/. The first run fetches and builds llama-server.
"""

import argparse
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
from benchmarks.bench.workloads import QUICK, Sizes
from benchmarks.conditions import RESULTS, conditions
from config.environment import prepare_environment
from config.models import ModelFile, file_sha256, resolve_base
from config.settings import Settings, load_settings

MODELS = ("default", "q4_0", "q8_0")
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
    found: list[Sample] = []
    states: dict[str, Any] = {}
    target = RESULTS / f"bench-{'quick-' if arguments.quick else ''}{datetime.now(UTC):%Y-%m-%d}"
    for name in arguments.models or (MODELS[:1] if arguments.quick else MODELS):
        base = _base(name, settings, peers, cache)
        more, states[base.name] = measure(base, plan, peers, cache)
        found += more
        if name == "default":
            found += drafts.measure_drafts(base, plan.rounds, plan.sizes.num_questions)
        _write(target, found, _notes(plan, states))
    print(f"Wrote {target.name}.md, .html and .jsonl to {RESULTS.name}/")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller steps, one round, the default base, five minutes")
    parser.add_argument("--models", nargs="+", choices=MODELS, help="q4_0, q8_0: random weights, shape of Qwen2.5-0.5B")
    parser.add_argument("--rounds", type=int, default=0, help="5, or 1 with --quick")
    parser.add_argument("--minutes", type=float, default=0, help="of measuring one model; what is left out is told")
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
    return Plan(
        sizes=QUICK if arguments.quick else Sizes(),
        rounds=arguments.rounds or (1 if arguments.quick else 5),
        seconds=60 * (arguments.minutes or (QUICK_MINUTES if arguments.quick else ALL_MINUTES)),
        seed=arguments.seed,
        layout=arguments.layout,
        adapter=AdapterShape(arguments.adapter_rank, layers),
        settings={f"HOUSEVOICE_{name.upper()}": value for name, value in given.items()},
        has_example=not arguments.no_example_server,
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


def _write(target: Path, samples: list[Sample], notes: tuple[str, ...]) -> None:
    """After each model, so that a run that is broken off keeps what it has."""
    run = Run(f"Benchmark {target.name.removeprefix('bench-')}", tuple(samples), notes, read_quality())
    kept.write(target.with_suffix(".jsonl"), samples, notes)
    target.with_suffix(".md").write_text(markdown(run), encoding="utf-8")
    target.with_suffix(".html").write_text(page(run), encoding="utf-8")


if __name__ == "__main__":
    main()
