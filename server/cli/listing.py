"""`housevoice brands` and `housevoice models`: what there is to choose from."""

from typing import Any

import typer
from rich.table import Table

from config.brands import load_brands
from config.models import RECOMMENDED_BASES, resolve_base, resolve_embedder
from config.settings import Settings
from server.cli.connection import find_server
from server.cli.console import errors_for_people, out, plain, say


def register(app: typer.Typer) -> None:
    app.command()(brands)
    app.command()(models)


def brands(context: typer.Context) -> None:
    """List the brands: what a client picks as `model`, with each one's active adapter and knowledge bases."""
    settings: Settings = context.obj
    with errors_for_people():
        server = find_server(settings)
        rows = server.get("/api/brands")["brands"] if server else _brands_from_files(settings)
    table = Table(box=None, pad_edge=False)
    for column in ("Brand", "Active adapter", "Knowledge bases", "Description"):
        table.add_column(column, overflow="fold")
    for row in rows:
        bases = ", ".join(row["knowledge_bases"])
        adapter = row.get("adapter") or "none: base with prompt"
        table.add_row(plain(row["name"]), plain(adapter), plain(bases), plain(row.get("description", "")))
    out.print(table)


def _brands_from_files(settings: Settings) -> list[dict[str, Any]]:
    return [brand.model_dump() for brand in load_brands(settings.brands_dir).values()]


def models(context: typer.Context) -> None:
    """Show the configured base and embedder with their files and hashes, and larger bases for real work."""
    settings: Settings = context.obj
    with errors_for_people():
        base = resolve_base(settings)
        embedder = resolve_embedder(settings)
    say(f"[bold]Base[/]      {plain(base.name)}  {base.num_bytes / 1e6:.0f} MB  from {plain(settings.models.base)}")
    say(f"          {plain(base.path)}\n          sha256 {base.sha256}")
    say(f"[bold]Embedder[/]  from {plain(settings.models.embedder)}\n          {plain(embedder)}\n")
    table = Table(title="Larger bases for real work (set models.base)", title_justify="left", box=None, pad_edge=False)
    for column in ("Name", "Parameters", "Memory", "models.base", "Good for"):
        table.add_column(column, overflow="fold")
    for choice in RECOMMENDED_BASES:
        table.add_row(choice.name, choice.parameters, f"{choice.memory_gb:.1f} GB", choice.source, choice.good_for)
    out.print(table)
    say("An adapter belongs to one base: after changing the base, train the brands again.")
