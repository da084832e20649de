"""`housevoice doctor`: everything a support person would ask first, with what to do about it."""

import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import typer
from rich.table import Table

from adapters.identity import identity_of
from adapters.registry import AdapterVersion, Registry
from config.brands import load_brands
from config.errors import HousevoiceError
from config.models import resolve_base, resolve_embedder
from config.settings import Settings
from server.cli.adapter_drift import drift_of
from server.cli.connection import Server, find_server, own_generations
from server.cli.console import errors_for_people, out, plain

PACKAGES = ("housevoice", "llama-cpp-python", "chromadb", "sentence-transformers", "torch", "transformers", "peft")
CPU_FEATURES = ("avx2", "fma", "f16c", "avx512f", "avx512_bf16", "amx_tile")
ENOUGH_FREE_BYTES = 2_000_000_000
SHOWN_ROWS = (1, 2, 4, 8, 16, 64)


class Verdict(StrEnum):
    FINE = "[green]fine[/]"
    LOOK = "[yellow]look[/]"
    BROKEN = "[red]broken[/]"


@dataclass(frozen=True, slots=True)
class Finding:
    topic: str
    verdict: Verdict
    text: str


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(context: typer.Context) -> None:
    """Check versions, CPU, models, data directory, index, brands and adapters. Exit code 1 if anything is broken."""
    settings: Settings = context.obj
    table = Table(box=None, pad_edge=False)
    for column in ("Topic", "", "Finding"):
        table.add_column(column, overflow="fold")
    with errors_for_people():
        findings = list(examine(settings))
    for finding in findings:
        table.add_row(finding.topic, finding.verdict.value, plain(finding.text))
    out.print(table)
    raise typer.Exit(1 if any(finding.verdict is Verdict.BROKEN for finding in findings) else 0)


def examine(settings: Settings) -> Iterator[Finding]:
    """All findings, cheapest first; one check that fails does not stop the others."""
    checks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        _versions, _processor, _disk, _models, _brands, _adapters, _drift, _running
    )  # fmt: skip
    for check in checks:
        try:
            yield from check(settings)
        except HousevoiceError as error:
            yield Finding(check.__name__.strip("_"), Verdict.BROKEN, str(error))


def _versions(settings: Settings) -> Iterator[Finding]:
    found = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    yield Finding("versions", Verdict.FINE, f"Python {platform.python_version()}, {found}")


def _processor(settings: Settings) -> Iterator[Finding]:
    flags = _cpu_flags()
    has = [name for name in CPU_FEATURES if name in flags]
    cores = psutil.cpu_count(logical=False) or 1
    verdict = Verdict.FINE if "avx2" in flags or not flags else Verdict.LOOK
    memory = psutil.virtual_memory()
    yield Finding("processor", verdict, f"{cores} cores, {platform.machine()}, {' '.join(has) or 'features unknown'}")
    yield Finding("memory", Verdict.FINE, f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB available")


def _cpu_flags() -> set[str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


def _disk(settings: Settings) -> Iterator[Finding]:
    root = settings.data.root
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    verdict = Verdict.FINE if free > ENOUGH_FREE_BYTES else Verdict.LOOK
    yield Finding("disk", verdict, f"{free / 1e9:.1f} GB free for {root}")
    owner = settings.data.owner()
    text = f"held by housevoice {owner.role}, process {owner.pid} {owner.url}" if owner else "held by nobody"
    yield Finding("lock", Verdict.FINE, text)


def _models(settings: Settings) -> Iterator[Finding]:
    base = resolve_base(settings)
    yield Finding("base", Verdict.FINE, f"{base.name} {base.sha256[:12]} {base.path}")
    yield Finding("embedder", Verdict.FINE, str(resolve_embedder(settings)))


def _brands(settings: Settings) -> Iterator[Finding]:
    names = ", ".join(load_brands(settings.brands_dir))
    verdict = Verdict.FINE if names else Verdict.LOOK
    yield Finding("brands", verdict, f"{names or 'none'} in {settings.brands_dir}")


def _adapters(settings: Settings) -> Iterator[Finding]:
    if not settings.data.database.exists():
        yield Finding("adapters", Verdict.LOOK, "none yet: the data directory is new")
        return
    registry = Registry.open(settings.data, identity_of(resolve_base(settings)))
    for version in registry.versions():
        if not version.is_active:
            continue
        if reason := registry.mismatch(version):
            yield Finding(version.name, Verdict.BROKEN, f"{reason} {registry.how_to_retrain(version)}")
        elif not version.path.is_file():
            yield Finding(version.name, Verdict.BROKEN, f"its file {version.path} is gone: restore a backup")
        else:
            text = f"active, matches the base, {reading_of(version, settings)}, {version.path}"
            yield Finding(version.name, Verdict.FINE, text)


def reading_of(version: AdapterVersion, settings: Settings) -> str:
    """How its sources are read, and why not faster than that where the settings would allow it."""
    if version.fact_layout == "blocks":
        is_allowed = settings.engine.fact_layout == "blocks"
        return "reads blocks" if is_allowed else "trained on blocks, reads in one piece as engine.fact_layout says"
    return f"reads in one piece{', as trained' if settings.engine.fact_layout == 'blocks' else ''}"


def _drift(settings: Settings) -> Iterator[Finding]:
    if not settings.data.database.exists():
        return
    versions = drift_of(settings)["versions"]
    for version in versions:
        for text in version["alerts"].values():
            yield Finding("drift", Verdict.LOOK, f"{text} See housevoice adapter drift {version['name'].split('@')[0]}")
    if not any(version["alerts"] for version in versions):
        yield Finding("drift", Verdict.FINE, f"{len(versions)} versions have answered; none has left its baseline")


def _running(settings: Settings) -> Iterator[Finding]:
    server = find_server(settings)
    if server is not None:
        yield from _running_server(server, settings)
        return
    yield Finding("server", Verdict.FINE, "not running")
    if settings.data.database.exists():
        with own_generations(settings, "doctor") as generations:
            yield _index("index", vars_of(generations.check_parity()))
            yield _generation(generations.number, generations.differences)


def _running_server(server: Server, settings: Settings) -> Iterator[Finding]:
    status = server.get("/api/status")
    engine = status["engine"]
    verdict = Verdict.FINE if engine["is_ready"] else Verdict.BROKEN
    text = f"process {engine['pid']}, {engine['num_running']} running, {engine['num_queued']} queued"
    if engine["num_threads"]:
        text += f", {engine['num_threads']} threads"
    yield Finding("server", Verdict.FINE, server.url)
    yield Finding("engine", verdict, f"{text}, {engine['num_restarts']} restarts {engine['last_error']}".strip())
    yield Finding("weights", Verdict.FINE, engine["weights"])
    yield facts_finding(settings, engine["facts"])
    yield steps_finding(engine["step_seconds"], engine["drafts"])
    yield mixing_finding(engine["mixing"])
    if index := status["index"]:
        yield _index("index", index)
        yield _generation(index["generation"], index["differs"])


def facts_finding(settings: Settings, facts: dict[str, Any]) -> Finding:
    """How the engine reads sources, and why that is not what the settings ask for."""
    if facts["layout"] != settings.engine.fact_layout:
        reason = facts["note"] or "the server was started with other settings"
        return Finding("facts", Verdict.LOOK, f'read in mode "{facts["layout"]}": {reason}')
    if facts["layout"] == "exact":
        return Finding("facts", Verdict.FINE, "each prompt is read in one piece")
    num_hits = facts["num_context_hits"] + facts["num_memory_hits"] + facts["num_disk_hits"]
    kept = f"{facts['num_memory_bytes'] / 1e6:.0f} MB in memory, {facts['num_disk_bytes'] / 1e6:.0f} MB on disk"
    who = "where adapters allow it" if settings.engine.base_fact_layout == "blocks" else "by adapters trained so"
    return Finding(
        "facts", Verdict.FINE, f"read as blocks {who}: {num_hits} reused, {facts['num_misses']} computed, {kept}"
    )


def steps_finding(step_seconds: Sequence[tuple[int, float]], drafts: dict[str, Any]) -> Finding:
    """What further rows cost on this machine, and what guessed tokens came to."""
    if not step_seconds:
        return Finding("steps", Verdict.FINE, f"no step times; nothing is drafted: {drafts['note']}")
    times = dict(step_seconds)
    shown = ", ".join(f"{rows}: {1000 * times[rows]:.0f} ms" for rows in SHOWN_ROWS if rows in times)
    share = f"{drafts['num_accepted']} of {drafts['num_drafted']} guessed tokens were right"
    return Finding("steps", Verdict.FINE, f"by rows {shown}; {share if drafts['is_on'] else _undrafted(drafts)}")


def _undrafted(drafts: dict[str, Any]) -> str:
    return f"nothing is drafted: {drafts['note']}"


def mixing_finding(mixing: dict[str, Any]) -> Finding:
    """Whether brands share batches, and why not. Turns are slower and never wrong, so nothing is to be done."""
    if not mixing["is_on"]:
        return Finding("brands", Verdict.FINE, f"take turns: {mixing['note']}")
    apart, together = mixing["apart_seconds"] * 1e3, mixing["together_seconds"] * 1e3
    tried = f"a step of two voices took {together:.0f} ms of processor time together, {apart:.0f} ms in turns"
    return Finding("brands", Verdict.FINE, f"share batches: {tried}; {mixing['num_batches']} so far")


def vars_of(parity: object) -> dict[str, Any]:
    return {name: getattr(parity, name) for name in getattr(parity, "__slots__", ())}


def _index(topic: str, parity: dict[str, Any]) -> Finding:
    return Finding(topic, Verdict.FINE, str(parity))


def _generation(number: int, differences: Sequence[str]) -> Finding:
    if not differences:
        return Finding("generation", Verdict.FINE, f"{number}, as the settings ask for")
    text = f"{number} answers, but the settings ask for another: {'; '.join(differences)}. Run housevoice index rebuild"
    return Finding("generation", Verdict.LOOK, text)
