"""`housevoice adapter upgrade`: all brands on another base, compared before anything changes."""

import asyncio
import shutil
import sys
from dataclasses import replace
from typing import Annotated

import typer
from rich.table import Table

from adapters.identity import identity_of
from adapters.registry import Registry
from adapters.training.progress import EpochResult, Estimate, TrainingEvent
from config.brands import load_brands
from config.environment import prepare_environment
from config.errors import ModelError, NotFoundError
from config.models import ModelFile, resolve_base
from config.settings import Settings
from server.cli.adapter_versions import own_registry
from server.cli.connection import Server, brand_of, find_server
from server.cli.console import errors_for_people, note, out, plain, say
from server.offline_scores import COLUMNS, Shares
from server.upgrade import Candidate, LeftOut, Upgraded, compare, plan_upgrade, remake, upgrade_folder


def register(app: typer.Typer) -> None:
    app.command()(upgrade)


def upgrade(
    context: typer.Context,
    base: Annotated[
        str | None, typer.Option(help="The new base, as models.base takes it; left out: what models.base says now.")
    ] = None,
    brand: Annotated[list[str] | None, typer.Option("--brand", help="Only this brand (repeatable).")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Held-out rows asked of each side, spread over the file.")] = 60,
    yes: Annotated[bool, typer.Option("--yes", help="Register the new versions without asking.")] = False,
) -> None:
    """Train every brand's active version again for another base, from the rows and the recipe kept with it.

    Then both sides answer the same held-out rows, and a table shows old and new. Nothing that is in use changes before
    you say yes; the new versions are active from the first start with the new base. A run that was stopped goes on.
    """
    settings: Settings = context.obj
    with errors_for_people():
        prepare_environment()
        new = _new_base(settings, base)
        candidates, left_out = _plan(settings, brand or [], new)
        _tell_plan(candidates, left_out, new)
        made = [_remake(candidate, new, settings) for candidate in candidates]
        judged = asyncio.run(compare(made, _old_base(settings, base), new, settings.engine, rows))
        _print_table(judged)
        if not yes and not _confirmed():
            note("Nothing was changed. The same command with --yes registers what was made, without training again.")
            raise typer.Exit(0)
        names = [_put_in(item, new, settings) for item in judged]
        shutil.rmtree(upgrade_folder(settings.data, new))
    for name in names:
        say(name)
    if base:
        note(f"Now set models.base = '{plain(base)}' and restart: they are active from then on.")


def _new_base(settings: Settings, base: str | None) -> ModelFile:
    """Under its file's name where it was named, as models.base_name may still be that of the old one."""
    if base is None:
        return resolve_base(settings)
    models = settings.models.model_copy(update={"base": base})
    found = resolve_base(settings.model_copy(update={"models": models}))
    return replace(found, name=found.path.stem)


def _plan(settings: Settings, names: list[str], new: ModelFile) -> tuple[list[Candidate], list[LeftOut]]:
    """Raises NotFoundError where nothing is to be done."""
    if not settings.data.database.exists():
        raise NotFoundError(f"There are no adapters in {settings.data.root}.")
    brands = [brand_of(settings, name) for name in names] or list(load_brands(settings.brands_dir).values())
    registry = Registry.open(settings.data)
    try:
        candidates, left_out = plan_upgrade(registry, settings.data, brands, new)
    finally:
        registry.close()
    if not candidates:
        reasons = "\n".join(f"  {item.brand}: {item.reason}" for item in left_out)
        raise NotFoundError(f"No brand can be upgraded to {new.path.name}.\n{reasons}")
    return candidates, left_out


def _tell_plan(candidates: list[Candidate], left_out: list[LeftOut], new: ModelFile) -> None:
    for candidate in candidates:
        notes = f" ({'; '.join(candidate.notes)})" if candidate.notes else ""
        note(f"{plain(candidate.version.name)} is trained again for {plain(new.path.name)}{plain(notes)}")
    for item in left_out:
        note(f"[yellow]{plain(item.brand)} is left out:[/] {plain(item.reason)}")


def _remake(candidate: Candidate, new: ModelFile, settings: Settings) -> Upgraded:
    def tell(event: TrainingEvent) -> None:
        match event:
            case Estimate():
                note(f"{plain(candidate.brand.name)}: {event.num_rows} rows, about {event.seconds / 60:.0f} min")
            case EpochResult():
                held = "" if event.validation_loss is None else f", held out {event.validation_loss:.3f}"
                note(f"{plain(candidate.brand.name)}: epoch {event.epoch}, loss {event.training_loss:.3f}{held}")

    return remake(candidate, new, upgrade_folder(settings.data, new), tell)


def _old_base(settings: Settings, base: str | None) -> ModelFile | None:
    """What models.base still says, where the new one was named beside it."""
    try:
        return resolve_base(settings) if base else None
    except ModelError as error:
        note(f"[yellow]The old versions are not asked:[/] {plain(error)}")
        return None


def _print_table(judged: list[Upgraded]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("Brand", "", *(name.replace("_", " ") for name in COLUMNS), "held-out loss"):
        table.add_column(column, overflow="fold")
    for item in judged:
        version = item.candidate.version
        table.add_row(plain(version.name), "old", *_cells(item.before), _loss(version.card))
        table.add_row("", "[bold]new[/]", *_cells(item.after), _loss(item.card))
    out.print(table)
    note("Share of held-out rows with 95 % bootstrap interval, from the sources that the rows carry; - was not asked.")


def _cells(shares: Shares | None) -> tuple[str, ...]:
    return tuple("-" if shares is None else shares[column] for column in COLUMNS)


def _loss(card: object) -> str:
    epochs = card.get("epochs", []) if isinstance(card, dict) else []
    losses = [epoch["validation_loss"] for epoch in epochs if epoch["validation_loss"] is not None]
    return f"{min(losses):.3f}" if losses else "-"


def _confirmed() -> bool:
    return sys.stdin.isatty() and typer.confirm("Register the new versions?", err=True)


def _put_in(item: Upgraded, new: ModelFile, settings: Settings) -> str:
    """Registered; active at once where the new base is what is served, else from the first start with it."""
    server = find_server(settings)
    if server is not None:
        return _send(item, new, server)
    with own_registry(settings, "adapter upgrade") as registry:
        identity = identity_of(new)
        version = registry.register(item.candidate.brand.name, item.gguf, item.card, item.rows, identity)
        if registry.served == identity:
            registry.activate(version.brand, version.version)
            return f"{version.name} is active."
        registry.stage(version.brand, version.version)
    return f"{version.name} waits for its base."


def _send(item: Upgraded, new: ModelFile, server: Server) -> str:
    served = server.get("/api/status")["base"]["sha256"]
    body: dict[str, object] = {
        "brand": item.candidate.brand.name,
        "path": str(item.gguf.absolute()),
        "card": dict(item.card),
        "rows": [str(path) for path in item.rows],
    }
    if served == new.sha256:
        return f"{server.post('/api/adapters', {**body, 'activate': True})['name']} is active."
    name = server.post("/api/adapters/stage", {**body, "base": str(new.path)})["name"]
    return f"{name} waits for its base."
