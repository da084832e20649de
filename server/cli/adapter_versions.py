"""`housevoice adapter list | canary | retire`: which versions there are and who gets which."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Table

from adapters.identity import identity_of
from adapters.registry import Registry
from config.errors import BadRequestError
from config.models import resolve_base
from config.settings import Settings
from server.cli.adapter_evaluate import last_scores
from server.cli.connection import brand_of, find_server
from server.cli.console import errors_for_people, note, out, plain, say
from server.keys import KeyStore
from server.versions import refuse_canary, refuse_retirement, state_of, version_row

VersionName = Annotated[str, typer.Argument(help="brand@number.")]


@contextmanager
def own_registry(settings: Settings, role: str) -> Iterator[Registry]:
    """Without a server, holding the data directory's lock meanwhile; knows the base that would be served."""
    with settings.data.own(role):
        registry = Registry.open(settings.data, identity_of(resolve_base(settings)))
        try:
            yield registry
        finally:
            registry.close()


def list_versions(context: typer.Context, brand: Annotated[str, typer.Argument(help="Only this brand.")] = "") -> None:
    """List all versions, which is active, who gets a canary, and what each was trained on.

    Sources: how a version was trained to read them, exact (in one piece) or blocks; it is never read faster than that.
    """
    settings: Settings = context.obj
    with errors_for_people():
        rows = version_rows(settings, brand)
    table = Table(box=None, pad_edge=False)
    for column in ("Version", "State", "Base", "Sources", "Rows", "Best loss", "Evaluated", "Parent", "File hash"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*_cells(row))
    out.print(table)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    card = row["card"]
    losses = [epoch["validation_loss"] for epoch in card.get("epochs", []) if epoch["validation_loss"] is not None]
    best = f"{min(losses):.3f}" if losses else "-"
    base = card.get("base_name", row["base_sha256"][:12])
    state = plain(state_of(row))
    shown = f"[green]{state}[/]" if row["is_active"] and not row["mismatch"] else state
    values = (
        base,
        row["fact_layout"],
        card.get("num_rows", "-"),
        best,
        last_scores(row),
        card.get("parent") or "-",
        row["sha256"][:12],
    )
    return (plain(row["name"]), shown, *map(plain, values))


def version_rows(settings: Settings, brand: str = "") -> list[dict[str, Any]]:
    """From the running server, or from the data directory."""
    server = find_server(settings)
    if server is not None:
        return list(server.get("/api/adapters", brand=brand)["adapters"])
    with own_registry(settings, "adapter list") as registry:
        canaries = registry.canaries()
        return [version_row(found, registry, canaries.get(found.brand)) for found in registry.versions(brand or None)]


def canary(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="brand@number; with --stop also the brand alone.")],
    share: Annotated[float, typer.Option(help="Share of the conversations that get it, 0 to 1.")] = 0.0,
    key: Annotated[list[str] | None, typer.Option("--key", help="A key that always gets it (repeatable).")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Give everybody the active version again.")] = False,
) -> None:
    """Try a version on some of the traffic, beside the active one, from the next request on.

    A conversation keeps the version it began with. Which one answered stands in the header x-housevoice-version; how
    each does shows [bold]housevoice adapter drift BRAND[/]. To promote it, activate it.
    """
    settings: Settings = context.obj
    brand = version.partition("@")[0]
    with errors_for_people():
        if stop:
            _stop_canary(settings, brand)
        elif share == 0 and not key:
            raise BadRequestError("A canary needs somebody to ask it.", hint="Add --share 0.1, or --key NAME.")
        else:
            _start_canary(settings, version, share, key or [])
    if stop:
        say(f"{plain(brand)} has no canary any more.")
        return
    whom = " and ".join(filter(None, (f"{share:.0%} of the conversations" if share else "", ", ".join(key or []))))
    say(f"{plain(version)} is the canary of {plain(brand)} for {plain(whom)}.")
    note(f"Promote it: housevoice adapter activate {plain(version)}")
    note(f"End it:     housevoice adapter canary {plain(brand)} --stop")


def retire(
    context: typer.Context,
    version: VersionName,
    reason: Annotated[str, typer.Option(prompt="Why", help="Shown to whoever asks for it later.")],
    delete_file: Annotated[
        bool, typer.Option("--delete-file", help="Delete the adapter's file too; its card stays.")
    ] = False,
) -> None:
    """Never use a version again: not as active, not as canary, not by its number. The active one cannot be retired.

    A running server deletes the file when no running answer can need it any more.
    """
    settings: Settings = context.obj
    with errors_for_people():
        server = find_server(settings)
        if server is not None:
            server.post("/api/adapters/retire", {"version": version, "reason": reason, "delete_file": delete_file})
        else:
            with own_registry(settings, "adapter retire") as registry:
                chosen = registry.get(version)
                refuse_retirement(chosen.name, [brand_of(settings, chosen.brand)])
                registry.retire(chosen.brand, chosen.version, reason, deletes_file=delete_file)
                registry.delete_retired_files()
    say(f"{plain(version)} is retired.")


def _start_canary(settings: Settings, version: str, share: float, keys: list[str]) -> None:
    server = find_server(settings)
    if server is not None:
        server.post("/api/adapters/canary", {"version": version, "share": share, "keys": keys})
        return
    with own_registry(settings, "adapter canary") as registry:
        chosen = registry.get(version)
        refuse_canary(brand_of(settings, chosen.brand))
        _check_keys(settings, keys)
        registry.start_canary(chosen.brand, chosen.version, share, keys)


def _stop_canary(settings: Settings, brand: str) -> None:
    server = find_server(settings)
    if server is not None:
        server.delete(f"/api/adapters/canary/{quote(brand, safe='')}")
        return
    with own_registry(settings, "adapter canary") as registry:
        registry.stop_canary(brand)


def _check_keys(settings: Settings, names: list[str]) -> None:
    """Raises NotFoundError for a key that does not exist."""
    store = KeyStore.open(settings.data)
    try:
        for name in names:
            store.live_key(name)
    finally:
        store.close()
